//! Time-stamp-counter cycles per packet of every suite, beside `ring` and `aws-lc-rs` in the same run.
//!
//! `cargo run --release -p kernels --example cycles [WORD]..` prints one line per operation and payload: the median of many rounds over
//! 200 keys in turn, as a fan-out would use them; words keep the lines that contain all of them. TSC cycles run at the nominal frequency, not at the core's: compare columns,
//! not machines. The last line is a hash of all output, so that no compiler can skip the work.
//! The recorded benchmark with peers is `perf`; this is the quick look while a kernel is being written.

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("SKIPPED: this example reads the time-stamp counter of x86-64");
}

#[cfg(target_arch = "x86_64")]
fn main() {
    measure::run();
}

#[cfg(target_arch = "x86_64")]
mod measure {
    use kernels::{CmSha1Key, GcmKey, HmacSha1, SealJob, Suite, seal_many};
    use std::hint::black_box;

    /// As many as a large meeting has receivers.
    const KEYS: usize = 200;
    const ROUNDS: usize = 400;
    /// The reference is 300 times slower, and nobody waits for its figures.
    const ROUNDS_SCALAR: usize = 3;
    const PAYLOADS: [usize; 3] = [1200, 160, 1452];
    const HEADER: [u8; 20] = [0x90; 20];
    /// SRTP's ends in the bits that count.
    const CM_IV: [u8; 16] = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0];

    /// Seals or hashes one packet: key index, body, buffer.
    type Packet = dyn FnMut(usize, &[u8], &mut [u8]);

    pub fn run() {
        let filter: Vec<String> = std::env::args().skip(1).collect();
        let mut hash = 0u64;
        println!("{:<28} {:>10} {:>10} {:>10}", "TSC cycles per packet", "1200 B", "160 B", "1452 B");
        let mut line = |name: String, mut packet: Box<Packet>| {
            if !filter.iter().all(|word| name.contains(word.as_str())) {
                return;
            }
            let rounds = if name.ends_with(" scalar") { ROUNDS_SCALAR } else { ROUNDS };
            let cells = PAYLOADS.map(|len| median(len, rounds, &mut packet, &mut hash));
            println!("{name:<28} {:>10} {:>10} {:>10}", cells[0], cells[1], cells[2]);
        };

        for suite in Suite::available() {
            for (cipher, key_bytes) in [("gcm-128", 16), ("gcm-256", 32)] {
                let keys = keys(|i| GcmKey::new(suite, &bytes(i)[..key_bytes]).expect("a key"));
                line(
                    format!("{cipher} seal {}", suite.name()),
                    Box::new(move |i, body, out| {
                        keys[i].seal(&iv(i), &HEADER, &[&[], body], out);
                    }),
                );
            }
            let gcm = keys(|i| GcmKey::new(suite, &bytes(i)[..16]).expect("a key"));
            line(
                format!("gcm-128 seal+prefix {}", suite.name()),
                Box::new(move |i, body, out| {
                    gcm[i].seal(&iv(i), &HEADER, &[&body[..6], &body[6..]], out);
                }),
            );
            let gcm = keys(|i| GcmKey::new(suite, &bytes(i)[..16]).expect("a key"));
            line(
                format!("gcm-128 seal in place {}", suite.name()),
                Box::new(move |i, body, out| {
                    let tag = gcm[i].seal_in_place(&iv(i), &HEADER, &mut out[..body.len()]);
                    out[body.len()..].copy_from_slice(&tag);
                }),
            );
            let gcm = keys(|i| GcmKey::new(suite, &bytes(i)[..16]).expect("a key"));
            line(
                format!("gcm-128 open (copied) {}", suite.name()),
                Box::new(move |i, body, out| {
                    let buf = &mut out[..body.len()];
                    buf.copy_from_slice(body);
                    // Refused, for the body is no ciphertext: the same work, and the buffer is zeroed.
                    let _ = black_box(gcm[i].open_in_place(&iv(i), &HEADER, buf));
                }),
            );
            let cm = keys(|i| CmSha1Key::new(suite, &[i as u8; 16], &[i as u8; 20]));
            line(
                format!("cm-sha1-80 seal {}", suite.name()),
                Box::new(move |i, body, out| {
                    cm[i].seal(&[1; 16], &HEADER, &[&[], body], &[0; 4], out);
                }),
            );
            let cm = keys(|i| CmSha1Key::new(suite, &[i as u8; 16], &[i as u8; 20]));
            line(
                format!("cm-sha1-80 seal_many {}", suite.name()),
                Box::new(move |i, body, out| many(&cm, i, body, out)),
            );
            let hmac = keys(|i| HmacSha1::new(suite, &bytes(i)[..20]));
            line(
                format!("hmac-sha1 {}", suite.name()),
                Box::new(move |i, body, out| out[..20].copy_from_slice(&hmac[i].mac(&[&HEADER, body]))),
            );
        }
        {
            use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
            for (cipher, algorithm, key_bytes) in
                [("gcm-128", &AES_128_GCM, 16), ("gcm-256", &AES_256_GCM, 32)]
            {
                let keys = keys(|i| {
                    LessSafeKey::new(UnboundKey::new(algorithm, &bytes(i)[..key_bytes]).expect("a key"))
                });
                line(
                    format!("{cipher} seal (copied) ring"),
                    Box::new(move |i, body, out| {
                        let (text, rest) = out.split_at_mut(body.len());
                        text.copy_from_slice(body);
                        let nonce = Nonce::assume_unique_for_key(iv(i));
                        let tag = keys[i].seal_in_place_separate_tag(nonce, Aad::from(&HEADER), text);
                        rest[..16].copy_from_slice(tag.expect("it seals").as_ref());
                    }),
                );
            }
            use ring::hmac;
            let keys = keys(|i| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes(i)[..20]));
            line(
                "hmac-sha1 ring".into(),
                Box::new(move |i, body, out| {
                    let mut context = hmac::Context::with_key(&keys[i]);
                    context.update(&HEADER);
                    context.update(body);
                    out[..20].copy_from_slice(context.sign().as_ref());
                }),
            );
        }
        {
            use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
            for (cipher, algorithm, key_bytes) in
                [("gcm-128", &AES_128_GCM, 16), ("gcm-256", &AES_256_GCM, 32)]
            {
                let keys = keys(|i| {
                    LessSafeKey::new(UnboundKey::new(algorithm, &bytes(i)[..key_bytes]).expect("a key"))
                });
                line(
                    format!("{cipher} seal (copied) aws-lc"),
                    Box::new(move |i, body, out| {
                        let (text, rest) = out.split_at_mut(body.len());
                        text.copy_from_slice(body);
                        let nonce = Nonce::assume_unique_for_key(iv(i));
                        let tag = keys[i].seal_in_place_separate_tag(nonce, Aad::from(&HEADER), text);
                        rest[..16].copy_from_slice(tag.expect("it seals").as_ref());
                    }),
                );
            }
            use aws_lc_rs::{cipher, hmac};
            let hmacs = keys(|i| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes(i)[..20]));
            let ctrs = keys(|i| {
                let key = cipher::UnboundCipherKey::new(&cipher::AES_128, &bytes(i)[..16]).expect("a key");
                cipher::EncryptingKey::ctr(key).expect("a key")
            });
            line(
                "cm-sha1-80 seal aws-lc".into(),
                Box::new(move |i, body, out| {
                    let (text, rest) = out.split_at_mut(body.len());
                    text.copy_from_slice(body);
                    let context = cipher::EncryptionContext::Iv128([1; 16].into());
                    ctrs[i].less_safe_encrypt(text, context).expect("it encrypts");
                    let mut mac = hmac::Context::with_key(&hmacs[i]);
                    mac.update(&HEADER);
                    mac.update(text);
                    mac.update(&[0; 4]);
                    rest[..10].copy_from_slice(&mac.sign().as_ref()[..10]);
                }),
            );
        }
        println!("result {hash:016x}");
    }

    /// Seals for all receivers once the first one's turn comes; buffers of its own, as long as the caller's.
    fn many(keys: &[CmSha1Key], i: usize, body: &[u8], out: &mut [u8]) {
        thread_local!(static OUTS: std::cell::RefCell<Vec<Vec<u8>>> = const { std::cell::RefCell::new(Vec::new()) });
        if i > 0 {
            return;
        }
        OUTS.with_borrow_mut(|outs| {
            outs.resize_with(KEYS, Vec::new);
            outs.iter_mut().for_each(|own| own.resize(out.len(), 0));
            let jobs = keys.iter().zip(outs.iter_mut()).map(|(key, out)| SealJob {
                key,
                iv: CM_IV,
                header: &HEADER,
                prefix: &[],
                trailer: [0; 4],
                out,
            });
            seal_many(body, jobs);
            out.copy_from_slice(&outs[KEYS - 1]);
        });
    }

    /// Median cycles per packet over rounds of one packet for each key.
    fn median(len: usize, rounds: usize, packet: &mut Packet, hash: &mut u64) -> u64 {
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut outs = vec![vec![0; len + 16]; KEYS];
        let mut cycles: Vec<u64> = (0..rounds)
            .map(|_| {
                let start = ticks();
                for (i, out) in outs.iter_mut().enumerate() {
                    packet(i, black_box(&body), out);
                }
                (ticks() - start) / KEYS as u64
            })
            .collect();
        for byte in outs.iter().flatten() {
            *hash = hash.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(*byte);
        }
        cycles.sort_unstable();
        cycles[rounds / 2]
    }

    fn keys<K>(key: impl FnMut(usize) -> K) -> Vec<K> {
        (0..KEYS).map(key).collect()
    }

    fn bytes(seed: usize) -> [u8; 32] {
        std::array::from_fn(|i| (seed * 31 + i * 7) as u8)
    }

    fn iv(i: usize) -> [u8; 12] {
        [i as u8; 12]
    }

    fn ticks() -> u64 {
        // SAFETY: RDTSC has no precondition; Linux leaves it enabled for user code.
        #[expect(unsafe_code, reason = "the time-stamp counter has no safe reader")]
        unsafe {
            std::arch::x86_64::_rdtsc()
        }
    }
}
