//! Answers to the connectivity checks of servers that are not ICE-lite.
//!
//! Promises: only checks that name our credentials and authenticate are answered.

use std::net::SocketAddr;

use dataplane::command::IceCredentials;
use dataplane::wire::stun::{Class, StunMessage, write_success};
use kernels::{HmacSha1, Suite};

/// Room for an answer.
pub const ANSWER_BYTES_MAX: usize = 128;

/// What checks are answered with.
pub struct Checks {
    ufrag: String,
    hmac: HmacSha1,
    /// Where checks come from.
    server: SocketAddr,
}

impl Checks {
    /// For a client with these credentials.
    pub fn new(local: &IceCredentials, server: SocketAddr) -> Self {
        let hmac = HmacSha1::new(Suite::detect(), local.pwd.as_bytes());
        Self { ufrag: local.ufrag.clone(), hmac, server }
    }

    /// Writes the answer to a datagram into `out`, at least [`ANSWER_BYTES_MAX`] long, if it is a check.
    pub fn answer(&self, datagram: &[u8], out: &mut [u8]) -> Option<usize> {
        // RFC 7983: 0 to 3 is STUN; most datagrams are not.
        if *datagram.first()? > 3 {
            return None;
        }
        let message = StunMessage::parse(datagram).ok().filter(|message| message.class == Class::Request)?;
        let (ours, _) = message.ufrags()?;
        let request = message.authenticate(|parts| self.hmac.mac(parts)).ok()?;
        if ours != self.ufrag.as_bytes() {
            return None;
        }
        write_success(&request, self.server, &|parts| self.hmac.mac(parts), out).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::wire::stun::{BindingRequest, Role, TransactionId, write_request};

    #[test]
    fn a_check_for_us_is_answered_and_no_other() {
        let local = IceCredentials { ufrag: "mine".to_owned(), pwd: "a password of the client".to_owned() };
        let checks = Checks::new(&local, ([10, 0, 0, 1], 9).into());
        let check = |ufrag: &str, pwd: &str| {
            let hmac = HmacSha1::new(Suite::detect(), pwd.as_bytes());
            let request = BindingRequest {
                transaction: TransactionId([7; 12]),
                remote_ufrag: ufrag.as_bytes(),
                local_ufrag: b"theirs",
                priority: 1,
                role: Role::Controlling(1),
                use_candidate: true,
            };
            let mut out = [0; 256];
            let bytes = write_request(&request, &|parts| hmac.mac(parts), &mut out).expect("it fits");
            out[..bytes].to_vec()
        };
        let mut out = [0; ANSWER_BYTES_MAX];
        let good = check("mine", &local.pwd);
        let bytes = checks.answer(&good, &mut out).expect("it is for us");
        let answer = StunMessage::parse(&out[..bytes]).expect("we write valid answers");
        assert!(answer.is_binding_response() && answer.transaction == TransactionId([7; 12]));
        for other in [
            check("mine", "another password of a client"),
            check("another", &local.pwd),
            vec![22, 1],
            Vec::new(),
        ] {
            assert!(checks.answer(&other, &mut out).is_none());
        }
        assert!(checks.answer(&{ out }[..bytes], &mut out).is_none(), "an answer is no check");
    }
}
