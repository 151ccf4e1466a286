//! Every suite equals the scalar reference, byte for byte: each length from 0 to 129 and two real packet sizes, at four
//! alignments, in place and apart, the payload split between prefix and body in several places; and no suite opens a forgery.

use kernels::{AesCtr, BadTag, CmSha1Key, GcmKey, HmacSha1, KeyLength, SealJob, Suite, seal_many};

/// Lengths around every block and group boundary, one past a group, and the payloads of a video packet and of a full MTU.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=129).chain([143, 144, 255, 256, 257, 383, 496, 497, 511, 512, 513, 575, 1023, 1025, 1200, 1452])
}

/// The first `len` bytes of the pseudo-random sequence number `seed`.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

fn array<const N: usize>(seed: u64) -> [u8; N] {
    bytes(seed, N).try_into().expect("it was made that long")
}

/// Where to cut `len` bytes into prefix and body: none, within a block, across a block, all.
fn splits(len: usize) -> impl Iterator<Item = usize> {
    [0, 1, 3, 6, 16, 17, 130].into_iter().filter(move |split| *split < len).chain([len])
}

fn gcm_keys(suite: Suite) -> [GcmKey; 2] {
    [16, 32].map(|len| GcmKey::new(suite, &bytes(len as u64, len)).expect("16 and 32 bytes are keys"))
}

/// An initialisation vector of SRTP, which ends in the sixteen zero bits that blocks are counted in; of each fifth seed any
/// other, with which kernels take another way.
fn cm_iv(seed: u64) -> [u8; 16] {
    let mut iv: [u8; 16] = array(seed);
    if !seed.is_multiple_of(5) {
        iv[14..].fill(0);
    }
    iv
}

fn cm_key(suite: Suite) -> CmSha1Key {
    CmSha1Key::new(suite, &array(1), &array(2))
}

/// Runs `check` for each suite but the reference, and says so when there is none.
fn each_hardware_suite(check: impl Fn(Suite)) {
    let mut count = 0;
    for suite in Suite::available().skip(1) {
        check(suite);
        count += 1;
    }
    if count == 0 {
        eprintln!("SKIPPED: this CPU has no kernel but the scalar reference, so there is nothing to compare");
    }
}

#[test]
fn every_gcm_seal_equals_scalar() {
    each_hardware_suite(|suite| {
        for (key, scalar) in gcm_keys(suite).iter().zip(&gcm_keys(Suite::scalar())) {
            for len in lengths() {
                let iv = array(len as u64);
                let aad = bytes(7, 12 + len % 40);
                let source = bytes(len as u64 + 1, len + 4);
                let mut expected = source[..len].to_vec();
                let tag = scalar.seal_in_place(&iv, &aad, &mut expected);
                for offset in 0..4 {
                    let context = format!("{} {len}+{offset} {key:?}", suite.name());
                    let mut in_place = vec![0; offset];
                    in_place.extend_from_slice(&source[..len]);
                    assert_eq!(key.seal_in_place(&iv, &aad, &mut in_place[offset..]), tag, "{context}");
                    assert_eq!(in_place[offset..], expected, "{context}");

                    let mut shifted = vec![0; offset];
                    shifted.extend_from_slice(&source[..len]);
                    for split in splits(len) {
                        let (prefix, body) = shifted[offset..].split_at(split);
                        let mut out = vec![0xee; 3 - offset + len + 16 + 5];
                        let room = &mut out[3 - offset..];
                        assert_eq!(key.seal(&iv, &aad, &[prefix, body], room), len + 16);
                        assert_eq!(room[..len], expected, "{context} split at {split}");
                        assert_eq!(room[len..len + 16], tag, "{context} split at {split}");
                        assert_eq!(room[len + 16..], [0xee; 5], "{context} wrote beyond its end");
                    }
                }
            }
        }
    });
}

#[test]
fn every_gcm_open_returns_what_scalar_sealed() {
    each_hardware_suite(|suite| {
        for (key, scalar) in gcm_keys(suite).iter().zip(&gcm_keys(Suite::scalar())) {
            for len in lengths() {
                for offset in 0..4 {
                    let (iv, aad, plain) = (array(len as u64), bytes(9, len % 50), bytes(3, len));
                    let mut buf = vec![0; offset + len + 16];
                    scalar.seal(&iv, &aad, &[&[], &plain], &mut buf[offset..]);
                    let mut other = buf[offset..].to_vec();
                    assert_eq!(key.open_in_place(&iv, &aad, &mut buf[offset..]), Ok(len));
                    assert_eq!(buf[offset..offset + len], plain, "{} {len}+{offset}", suite.name());
                    assert_eq!(scalar.open_in_place(&iv, &aad, &mut other), Ok(len));
                    assert_eq!(other[..len], plain);
                }
            }
        }
    });
}

#[test]
fn every_aad_length_gives_the_tag_of_scalar() {
    each_hardware_suite(|suite| {
        for (key, scalar) in gcm_keys(suite).iter().zip(&gcm_keys(Suite::scalar())) {
            for len in lengths() {
                let aad = bytes(4, len);
                let (mut a, mut b) = ([5; 21], [5; 21]);
                let expected = scalar.seal_in_place(&[1; 12], &aad, &mut b);
                assert_eq!(key.seal_in_place(&[1; 12], &aad, &mut a), expected, "{} {len}", suite.name());
            }
        }
    });
}

#[test]
fn every_cm_sha1_seal_and_open_equals_scalar() {
    let scalar = cm_key(Suite::scalar());
    each_hardware_suite(|suite| {
        let key = cm_key(suite);
        for len in lengths() {
            let (iv, header, roc) = (cm_iv(len as u64), bytes(5, 12 + len % 33), [0, 0, 1, 2]);
            let source = bytes(len as u64 + 9, len + 4);
            for offset in 0..4 {
                let plain = &source[offset..offset + len];
                let mut expected = vec![0; len + 10];
                assert_eq!(scalar.seal(&iv, &header, &[&[], plain], &roc, &mut expected), len + 10);
                let context = format!("{} {len}+{offset}", suite.name());
                for split in splits(len) {
                    let (prefix, body) = plain.split_at(split);
                    let mut out = vec![0xee; 3 - offset + len + 10 + 5];
                    let room = &mut out[3 - offset..];
                    assert_eq!(key.seal(&iv, &header, &[prefix, body], &roc, room), len + 10);
                    assert_eq!(room[..len + 10], expected, "{context} split at {split}");
                    assert_eq!(room[len + 10..], [0xee; 5], "{context} wrote beyond its end");
                }
                let mut in_place = vec![0; offset];
                in_place.extend_from_slice(plain);
                key.ctr_in_place(&iv, &mut in_place[offset..]);
                assert_eq!(in_place[offset..], expected[..len], "{context}");
                let tag = key.tag(&[&header, &in_place[offset..], &roc]);
                assert_eq!(tag, expected[len..], "{context}");
                in_place.extend_from_slice(&tag);
                assert_eq!(
                    key.open_in_place(&iv, &header, &mut in_place[offset..], &roc),
                    Ok(len),
                    "{context}"
                );
                assert_eq!(in_place[offset..offset + len], *plain, "{context}");
            }
        }
    });
}

#[test]
fn every_key_stream_equals_scalar_also_where_the_counter_wraps() {
    let near_wraps =
        [u128::MAX - 3, u64::MAX as u128 - 9, u32::MAX as u128 - 2, u16::MAX as u128, 0, 0x1234 << 64];
    each_hardware_suite(|suite| {
        for key_bytes in [16, 32] {
            let key = AesCtr::new(suite, &bytes(1, key_bytes)).expect("a key");
            let scalar = AesCtr::new(Suite::scalar(), &bytes(1, key_bytes)).expect("a key");
            for first in near_wraps {
                for len in lengths() {
                    let (mut a, mut b) = (vec![1; len], vec![2; len]);
                    key.keystream(&first.to_be_bytes(), &mut a);
                    scalar.keystream(&first.to_be_bytes(), &mut b);
                    assert_eq!(a, b, "{} {len} from {first:#x}", suite.name());
                }
            }
        }
    });
}

#[test]
fn every_hmac_equals_scalar_however_the_message_is_cut() {
    each_hardware_suite(|suite| {
        for len in lengths() {
            let (key, text) = (bytes(6, len % 90), bytes(8, len));
            let (hmac, scalar) = (HmacSha1::new(suite, &key), HmacSha1::new(Suite::scalar(), &key));
            let expected = scalar.mac(&[&text]);
            assert_eq!(hmac.mac(&[&text]), expected, "{} {len}", suite.name());
            for cut in splits(len) {
                let (head, tail) = text.split_at(cut);
                let (middle, end) = tail.split_at(tail.len() / 2);
                assert_eq!(hmac.mac(&[head, middle, end]), expected, "{} {len} at {cut}", suite.name());
                assert_eq!(scalar.mac(&[head, &[], middle, end]), expected, "{len} at {cut}");
            }
        }
    });
}

#[test]
fn sealing_many_equals_sealing_each() {
    for suite in Suite::available() {
        let body = bytes(11, 1200);
        let gcm: Vec<_> = (0..9u64).map(|i| GcmKey::new(suite, &bytes(i, 16)).expect("a key")).collect();
        let cm: Vec<_> = (0..9u64).map(|i| CmSha1Key::new(suite, &array(i), &array(i + 50))).collect();
        let header = bytes(12, 20);
        let prefixes: Vec<_> = (0..9).map(|i| bytes(13, i)).collect();
        let mut outs = vec![vec![0; 1300]; 9];
        seal_many(
            &body,
            gcm.iter().zip(&mut outs).zip(&prefixes).zip(0..).map(|(((key, out), prefix), i)| SealJob {
                key,
                iv: array(i),
                header: &header,
                prefix,
                trailer: (),
                out,
            }),
        );
        for (i, out) in outs.iter_mut().enumerate() {
            let sealed = i + 1200 + 16;
            assert_eq!(gcm[i].open_in_place(&array(i as u64), &header, &mut out[..sealed]), Ok(sealed - 16));
            assert_eq!(out[..sealed - 16], [&prefixes[i][..], &body].concat(), "{} job {i}", suite.name());
            assert!(out[sealed..].iter().all(|byte| *byte == 0), "job {i} wrote beyond its end");
            out.fill(0);
        }
        seal_many(
            &body,
            cm.iter().zip(&mut outs).zip(&prefixes).zip(0..).map(|(((key, out), prefix), i)| SealJob {
                key,
                iv: cm_iv(i),
                header: &header,
                prefix,
                trailer: (i as u32).to_be_bytes(),
                out,
            }),
        );
        for (i, out) in outs.iter_mut().enumerate() {
            let (sealed, roc) = (i + 1200 + 10, (i as u32).to_be_bytes());
            let opened = cm[i].open_in_place(&cm_iv(i as u64), &header, &mut out[..sealed], &roc);
            assert_eq!(opened, Ok(sealed - 10), "{} job {i}", suite.name());
            assert_eq!(out[..sealed - 10], [&prefixes[i][..], &body].concat(), "{} job {i}", suite.name());
        }
    }
}

/// Flips one bit of every byte that the tag must protect, one at a time, and cuts the input at every length.
#[test]
fn a_forged_packet_fails_and_leaves_no_plaintext() {
    for suite in Suite::available() {
        let name = suite.name();
        for len in [0, 1, 16, 47, 150] {
            let (header, plain, roc) = (bytes(1, 12), bytes(2, len), [0, 0, 0, 7]);
            for gcm in &gcm_keys(suite) {
                let mut sealed = vec![0; len + 16];
                gcm.seal(&[9; 12], &header, &[&[], &plain], &mut sealed);
                for byte in 0..sealed.len() {
                    let mut forged = sealed.clone();
                    forged[byte] ^= 1 << (byte % 8);
                    assert_eq!(
                        gcm.open_in_place(&[9; 12], &header, &mut forged),
                        Err(BadTag),
                        "{name} {byte}"
                    );
                    assert!(forged.iter().all(|byte| *byte == 0), "{name} left plaintext at {len}, {byte}");
                }
                for byte in 0..header.len() {
                    let (mut aad, mut buf) = (header.clone(), sealed.clone());
                    aad[byte] ^= 0x80;
                    assert_eq!(gcm.open_in_place(&[9; 12], &aad, &mut buf), Err(BadTag), "{name} aad {byte}");
                    assert!(buf.iter().all(|byte| *byte == 0));
                }
                for cut in 0..sealed.len() {
                    let mut buf = sealed[..cut].to_vec();
                    assert_eq!(
                        gcm.open_in_place(&[9; 12], &header, &mut buf),
                        Err(BadTag),
                        "{name} cut {cut}"
                    );
                    assert!(buf.iter().all(|byte| *byte == 0));
                }
                assert_eq!(gcm.open_in_place(&[8; 12], &header, &mut sealed), Err(BadTag), "{name} iv");
            }

            let cm = cm_key(suite);
            let mut sealed = vec![0; len + 10];
            cm.seal(&[9; 16], &header, &[&[], &plain], &roc, &mut sealed);
            for byte in 0..sealed.len() {
                let mut forged = sealed.clone();
                forged[byte] ^= 1 << (byte % 8);
                assert_eq!(
                    cm.open_in_place(&[9; 16], &header, &mut forged, &roc),
                    Err(BadTag),
                    "{name} {byte}"
                );
                assert!(forged.iter().all(|byte| *byte == 0), "{name} left bytes at {len}, {byte}");
            }
            for cut in 0..sealed.len() {
                let mut buf = sealed[..cut].to_vec();
                assert_eq!(
                    cm.open_in_place(&[9; 16], &header, &mut buf, &roc),
                    Err(BadTag),
                    "{name} cut {cut}"
                );
                assert!(buf.iter().all(|byte| *byte == 0));
            }
            let mut buf = sealed.clone();
            assert_eq!(
                cm.open_in_place(&[9; 16], &header, &mut buf, &[0, 0, 0, 8]),
                Err(BadTag),
                "{name} roc"
            );
            let mut buf = sealed.clone();
            assert_eq!(
                cm.open_in_place(&[9; 16], &header[..11], &mut buf, &roc),
                Err(BadTag),
                "{name} header"
            );
        }
    }
}

#[test]
fn only_16_and_32_bytes_are_keys() {
    for suite in Suite::available() {
        for len in 0..=48 {
            let expected = if len == 16 || len == 32 { Ok(()) } else { Err(KeyLength) };
            assert_eq!(GcmKey::new(suite, &vec![1; len]).map(drop), expected, "{} {len}", suite.name());
            assert_eq!(AesCtr::new(suite, &vec![1; len]).map(drop), expected, "{} {len}", suite.name());
        }
    }
}

/// The longest datagram there is, and all lengths within a step of it.
#[test]
fn the_largest_buffers_equal_scalar() {
    const LARGEST: usize = 65_535;
    let scalar = Suite::scalar();
    for len in [LARGEST, LARGEST - 1, LARGEST - 15, LARGEST - 16, LARGEST - 511] {
        let (iv, aad, plain) = (array(7), bytes(9, 28), bytes(3, len));
        let expected = gcm_keys(scalar).map(|key| {
            let mut out = vec![0; len + GcmKey::TAG_BYTES];
            key.seal(&iv, &aad, &[&plain[..5], &plain[5..]], &mut out);
            out
        });
        let (counter, roc) = (cm_iv(8), [0, 0, 0, 1]);
        let mut expected_cm = vec![0; len + CmSha1Key::TAG_BYTES];
        cm_key(scalar).seal(&counter, &aad, &[&[], &plain], &roc, &mut expected_cm);
        for suite in Suite::available() {
            for (key, expected) in gcm_keys(suite).iter().zip(&expected) {
                // At an odd address.
                let mut out = vec![0; 1 + expected.len()];
                key.seal(&iv, &aad, &[&plain[..5], &plain[5..]], &mut out[1..]);
                assert!(out[1..] == expected[..], "{} {len}", suite.name());
                assert_eq!(key.open_in_place(&iv, &aad, &mut out[1..]), Ok(len));
                assert!(out[1..=len] == plain[..], "{} {len}", suite.name());
            }
            let mut out = vec![0; 1 + expected_cm.len()];
            cm_key(suite).seal(&counter, &aad, &[&[], &plain], &roc, &mut out[1..]);
            assert!(out[1..] == expected_cm[..], "{} {len}", suite.name());
            assert_eq!(cm_key(suite).open_in_place(&counter, &aad, &mut out[1..], &roc), Ok(len));
            assert!(out[1..=len] == plain[..], "{} {len}", suite.name());
        }
    }
}
