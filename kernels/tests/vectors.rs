//! Published test vectors, on every suite: NIST CAVP and RFC 7714 for GCM, RFC 3711 and RFC 6188 for AES-CM and its key
//! derivation, RFC 2202 for HMAC-SHA1.

use kernels::{AesCtr, BadTag, CmSha1Key, GcmKey, HmacSha1, Suite};
use std::collections::HashMap;

/// One record of a vector file: a name and its byte strings.
struct Case {
    name: &'static str,
    fields: HashMap<&'static str, Vec<u8>>,
}

impl Case {
    fn bytes(&self, field: &str) -> &[u8] {
        self.fields.get(field).unwrap_or_else(|| panic!("{} lacks {field}", self.name))
    }

    fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        self.bytes(field).try_into().unwrap_or_else(|_| panic!("{}: {field} is not {N} bytes", self.name))
    }
}

/// Records are separated by blank lines; a line is `field = hexadecimal`, but for `case = name`; `#` starts a comment.
fn parse(file: &'static str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (field, value) = line.split_once('=').expect("a line has a field and a value");
        match (field.trim(), cases.last_mut()) {
            ("case", _) => cases.push(Case { name: value.trim(), fields: HashMap::new() }),
            (field, Some(case)) => drop(case.fields.insert(field, hex(value))),
            (field, None) => panic!("{field} before any case"),
        }
    }
    cases
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8)
        .collect();
    let (pairs, odd) = digits.as_chunks();
    assert!(odd.is_empty(), "an odd number of digits");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

#[test]
fn gcm_vectors_hold_on_every_suite() {
    let cases = parse(include_str!("vectors/gcm.txt"));
    assert_eq!(cases.len(), 24);
    for suite in Suite::available() {
        for case in &cases {
            let context = format!("{} on {}", case.name, suite.name());
            let key = GcmKey::new(suite, case.bytes("key")).expect(case.name);
            let (iv, aad, text) = (case.array("iv"), case.bytes("aad"), case.bytes("text"));

            let mut sealed = vec![0; text.len() + GcmKey::TAG_BYTES];
            assert_eq!(key.seal(&iv, aad, &[&[], text], &mut sealed), sealed.len(), "{context}");
            assert_eq!(sealed, case.bytes("sealed"), "{context}");

            assert_eq!(key.open_in_place(&iv, aad, &mut sealed), Ok(text.len()), "{context}");
            assert_eq!(&sealed[..text.len()], text, "{context}");
        }
    }
}

#[test]
fn aes_cm_vectors_hold_on_every_suite() {
    let cases = parse(include_str!("vectors/aes_cm.txt"));
    assert_eq!(cases.len(), 10);
    for suite in Suite::available() {
        for case in &cases {
            let mut stream = vec![0xee; case.bytes("stream").len()];
            let key = AesCtr::new(suite, case.bytes("key")).expect(case.name);
            key.keystream(&case.array("iv"), &mut stream);
            assert_eq!(stream, case.bytes("stream"), "{} on {}", case.name, suite.name());
        }
    }
}

#[test]
fn hmac_sha1_vectors_hold_on_every_suite() {
    let cases = parse(include_str!("vectors/hmac_sha1.txt"));
    assert_eq!(cases.len(), 7);
    for suite in Suite::available() {
        for case in &cases {
            let key = HmacSha1::new(suite, case.bytes("key"));
            assert_eq!(
                key.mac(&[case.bytes("text")]),
                case.bytes("mac"),
                "{} on {}",
                case.name,
                suite.name()
            );
            assert!(key.verify(&[case.bytes("text")], case.bytes("mac")));
        }
    }
}

/// The packet that SRTP implementations exchange as a known answer: keys derived from the master key of RFC 3711
/// appendix B.3, SSRC 0xcafebabe, sequence number 0x1234, roll-over counter 0.
#[test]
fn a_whole_aes_cm_128_hmac_sha1_80_packet_holds_on_every_suite() {
    let header = hex("800f1234decafbadcafebabe");
    let text = [0xab; 16];
    let sealed = hex("4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    for suite in Suite::available() {
        let master =
            AesCtr::new(suite, &hex("e1f97a0d3e018be0d64fa32c06de4139")).expect("16 bytes are a key");
        let derive = |label: u8, out: &mut [u8]| {
            let mut block = [0; 16];
            block[..14].copy_from_slice(&hex("0ec675ad498afeebb6960b3aabe6"));
            block[7] ^= label;
            master.keystream(&block, out);
        };
        let (mut enc, mut auth, mut salt) = ([0; 16], [0; 20], [0; 14]);
        derive(0, &mut enc);
        derive(1, &mut auth);
        derive(2, &mut salt);
        let key = CmSha1Key::new(suite, &enc, &auth);
        // RFC 3711 section 4.1.1: (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&salt);
        let iv = (u128::from_be_bytes(iv) ^ (0xcafe_babe << 64) ^ (0x1234 << 16)).to_be_bytes();

        let mut packet = [0; 26];
        assert_eq!(key.seal(&iv, &header, &[&text[..3], &text[3..]], &[0; 4], &mut packet), 26);
        assert_eq!(packet[..], sealed, "{}", suite.name());
        assert_eq!(key.open_in_place(&iv, &header, &mut packet, &[0; 4]), Ok(16), "{}", suite.name());
        assert_eq!(packet[..16], text);
        let mut packet = sealed.clone();
        assert_eq!(key.open_in_place(&iv, &header, &mut packet, &[0, 0, 0, 1]), Err(BadTag));
    }
}
