//! Fragments of descriptions that trickle candidates or restart ICE (RFC 8840, `application/trickle-ice-sdpfrag`).
//!
//! Candidates of clients are never looked at (ICE-lite answers checks), so that of a fragment only the credentials count; its
//! lines must still be lines of a description.

use dataplane::command::IceCredentials;

use super::lines::{Lines, LocalTransport};
use super::{ICE_BYTES_MAX, SdpError};

/// Longest fragment taken, bytes: a hundred candidates.
pub const FRAGMENT_BYTES_MAX: usize = 16 * 1024;

/// What a fragment says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The ICE credentials it belongs to; a fragment may leave them out.
    pub ufrag: Option<String>,
}

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// `TooLong`, `Syntax` for a line that is none of a description, `Ice` for credentials of a wrong form or only half of them.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > FRAGMENT_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let (mut ufrag, mut pwd) = (None, None);
        let mut is_empty = true;
        for line in text.lines().filter(|line| !line.is_empty()) {
            is_empty = false;
            let Some((kind, value)) = line.split_once('=') else { return Err(SdpError::Syntax) };
            if kind.len() != 1 || !kind.as_bytes()[0].is_ascii_lowercase() {
                return Err(SdpError::Syntax);
            }
            if kind != "a" {
                continue;
            }
            if let Some(value) = value.strip_prefix("ice-ufrag:") {
                ufrag.get_or_insert(value);
            } else if let Some(value) = value.strip_prefix("ice-pwd:") {
                pwd.get_or_insert(value);
            }
        }
        if is_empty {
            return Err(SdpError::Syntax);
        }
        let is_of_ice = |text: &str, bytes_min| {
            (bytes_min..=ICE_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(&b))
        };
        match (ufrag, pwd) {
            (None, None) => Ok(Self { ufrag: None }),
            (Some(ufrag), Some(pwd)) if is_of_ice(ufrag, 4) && is_of_ice(pwd, 22) => {
                Ok(Self { ufrag: Some(ufrag.to_owned()) })
            }
            _ => Err(SdpError::Ice),
        }
    }
}

/// Our side after an ICE restart: new credentials and the candidates again.
#[must_use]
pub fn write(local: &LocalTransport<'_>) -> String {
    let IceCredentials { ufrag, pwd } = local.ice;
    let mut lines = Lines::new(512);
    lines.line(format_args!("a=ice-ufrag:{ufrag}"));
    lines.line(format_args!("a=ice-pwd:{pwd}"));
    lines.text("a=ice-lite");
    lines.candidates(local.candidates);
    lines.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PWD: &str = "a=ice-pwd:0123456789012345678901\r\n";

    #[test]
    fn credentials_come_whole_or_not_at_all() {
        let of = |text: &str| Fragment::parse(text).map(|fragment| fragment.ufrag);
        let candidate =
            "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";
        assert_eq!(of(candidate), Ok(None));
        assert_eq!(of(&format!("a=ice-ufrag:EsAw\r\n{PWD}{candidate}")), Ok(Some("EsAw".into())));
        assert_eq!(of(&format!("a=ice-ufrag:EsAw\n{PWD}a=end-of-candidates\n")), Ok(Some("EsAw".into())));
        assert_eq!(of("a=ice-ufrag:EsAw\r\n"), Err(SdpError::Ice));
        assert_eq!(of(PWD), Err(SdpError::Ice));
        assert_eq!(of(&format!("a=ice-ufrag:Es\r\n{PWD}")), Err(SdpError::Ice));
        assert_eq!(of(&format!("a=ice-ufrag:Es w\r\n{PWD}")), Err(SdpError::Ice));
        for malformed in ["", "\r\n", "hello", "{\"a\":1}", "candidate=x", "A=x"] {
            assert_eq!(of(malformed), Err(SdpError::Syntax), "{malformed:?}");
        }
        assert_eq!(of(&"a=x\r\n".repeat(10_000)), Err(SdpError::TooLong));
    }
}
