//! The scalar reference against two implementations that are not ours, `ring` and `aws-lc-rs`: a mistake that all of our
//! kernels share would show here.

use aws_lc_rs::cipher;
use kernels::{AesCtr, GcmKey, HmacSha1, Suite};

fn lengths() -> impl Iterator<Item = usize> {
    (0..=129).chain([1200, 1452])
}

fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 167 + seed * 59 + i * i / 7) as u8).collect()
}

#[test]
fn scalar_gcm_equals_ring_and_aws_lc() {
    for len in lengths() {
        for key_bytes in [16, 32] {
            let (key, aad, plain) = (bytes(len, key_bytes), bytes(3, len % 37), bytes(4, len));
            let iv: [u8; 12] = bytes(len + 1, 12).try_into().expect("it was made that long");
            let ours = GcmKey::new(Suite::scalar(), &key).expect("a key");
            let mut sealed = plain.clone();
            let tag = ours.seal_in_place(&iv, &aad, &mut sealed);

            {
                use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
                let algorithm = if key_bytes == 16 { &AES_128_GCM } else { &AES_256_GCM };
                let ring = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("a key"));
                let mut theirs = plain.clone();
                let their_tag = ring
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(iv),
                        Aad::from(&aad),
                        &mut theirs,
                    )
                    .expect("it seals");
                assert_eq!((&sealed[..], &tag[..]), (&theirs[..], their_tag.as_ref()), "ring {len}");
            }
            {
                use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
                let algorithm = if key_bytes == 16 { &AES_128_GCM } else { &AES_256_GCM };
                let aws = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("a key"));
                let mut theirs = plain.clone();
                let their_tag = aws
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(iv),
                        Aad::from(&aad),
                        &mut theirs,
                    )
                    .expect("it seals");
                assert_eq!((&sealed[..], &tag[..]), (&theirs[..], their_tag.as_ref()), "aws-lc {len}");
            }
        }
    }
}

#[test]
fn scalar_ctr_equals_aws_lc() {
    for len in lengths() {
        for (key_bytes, algorithm) in [(16, &cipher::AES_128), (32, &cipher::AES_256)] {
            let (key, mut text) = (bytes(len, key_bytes), bytes(5, len));
            // Its last bytes are all ones, so that the carry runs out of the low half.
            let mut iv: [u8; 16] = bytes(6, 16).try_into().expect("it was made that long");
            iv[6..].fill(0xff);
            let key_of_theirs = cipher::UnboundCipherKey::new(algorithm, &key).expect("a key");
            let theirs = cipher::EncryptingKey::ctr(key_of_theirs).expect("a key");
            let mut expected = text.clone();
            let context = cipher::EncryptionContext::Iv128(iv.into());
            theirs.less_safe_encrypt(&mut expected, context).expect("it encrypts");
            AesCtr::new(Suite::scalar(), &key).expect("a key").apply(&iv, &mut text);
            assert_eq!(text, expected, "{len}");
        }
    }
}

#[test]
fn scalar_hmac_equals_ring() {
    for len in lengths() {
        let (key, text) = (bytes(7, len % 100), bytes(8, len));
        let theirs = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        let ours = HmacSha1::new(Suite::scalar(), &key);
        assert_eq!(ours.mac(&[&text]), ring::hmac::sign(&theirs, &text).as_ref(), "{len}");
    }
}
