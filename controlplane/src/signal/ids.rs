//! Names and secrets that signalling gives out.

use dataplane::base::ids::{CoreId, PeerId, local_ufrag};
use dataplane::command::IceCredentials;

const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness once it has booted");
    bytes
}

/// A random identifier such as `PA_…` (participant) or `TR_…` (track): 60 random bits.
#[must_use]
pub fn sid(prefix: &str) -> String {
    let letters = random::<12>().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let mut text = String::with_capacity(prefix.len() + letters.len());
    text.push_str(prefix);
    text.extend(letters);
    text
}

/// Fresh ICE credentials of one of our peers: the fragment names core and peer, the password has 128 random bits.
#[must_use]
pub fn ice(core: CoreId, peer: PeerId) -> IceCredentials {
    let pwd = random::<16>().iter().fold(String::with_capacity(32), |mut text, byte| {
        text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
        text
    });
    IceCredentials { ufrag: local_ufrag(core, peer, u32::from_be_bytes(random())), pwd }
}

/// A random number that is not zero.
#[must_use]
pub fn number() -> u32 {
    u32::from_be_bytes(random()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_differ_and_have_the_lengths_of_rfc_8839() {
        let one = ice(CoreId(1), PeerId(2));
        let two = ice(CoreId(1), PeerId(2));
        assert!(one.ufrag != two.ufrag && one.pwd != two.pwd);
        assert!(one.ufrag.len() >= 4 && one.pwd.len() >= 22);
        assert!(one.ufrag.starts_with("0100000002"));
        assert!(sid("PA_").starts_with("PA_") && sid("PA_").len() == 15);
    }
}
