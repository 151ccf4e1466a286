//! A key to sign with that everybody knows: RFC 8410 section 10.3.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Its public half, base64url.
pub const PUBLIC: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";
const PKCS8: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";

/// The key, PKCS #8.
///
/// # Panics
/// Never: it is a constant.
#[must_use]
pub fn pkcs8() -> Vec<u8> {
    STANDARD.decode(PKCS8).expect("base64")
}

/// Makes it the signing key of a data directory that does not exist yet, in the clear, as versions before sealing kept it.
///
/// # Panics
/// When the directory cannot be made.
pub fn plant(data: &Path) {
    fs::create_dir_all(data).expect("makes the directory");
    fs::write(data.join("signing.key"), pkcs8()).expect("writes");
}
