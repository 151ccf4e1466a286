//! `kaigi-perf kernels`: cycles per packet of every suite, beside `ring`, `aws-lc` and the system's OpenSSL in the same run.
//!
//! Promises: all contestants of one row seal (or open) the same bodies under the same keys, and the rounds of all of them
//! alternate, so that frequency and noise meet everyone alike; each reports the median round. Every output is hashed, and
//! where other libraries speak the same cipher their bytes are compared.
//! Not here: SRTP packets (`forward` measures those). `ring` has no AES-CTR, so it has no row for AES_CM.

use std::hint::black_box;

use aws_lc_rs::aead as aws;
use dataplane::io::cycles;
use kernels::{CmSha1Key, GcmKey, OpenJob, SealJob, Suite, open_many, seal_many};
use ring::aead as ring_aead;
use serde::Serialize;
use tools::client::stamp::mix;

use crate::openssl::{self, Direction, OpenSsl};

/// Receivers of one fan-out.
const KEYS: usize = 200;
const HEADER: [u8; 20] = [0x90; 20];
const TAG_BYTES_MAX: usize = 16;
/// The scalar suite runs in one round of so many.
const SCALAR_EVERY: usize = 100;

/// What a row measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// One packet for each receiver in one call.
    Seal,
    /// One packet of each sender in one call.
    Open,
    /// As `Seal`, with a call for each packet.
    SealOne,
    /// As `Open`, with a call for each packet.
    OpenOne,
}

impl Operation {
    /// Of our suites one call for many gains only where packets are hashed side by side.
    fn all(cipher: Cipher) -> &'static [Self] {
        match cipher {
            Cipher::Gcm128 | Cipher::Gcm256 => &[Self::Seal, Self::Open],
            Cipher::CmSha1 => &[Self::Seal, Self::Open, Self::SealOne, Self::OpenOne],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
            Self::SealOne => "seal_one",
            Self::OpenOne => "open_one",
        }
    }

    const fn seals(self) -> bool {
        matches!(self, Self::Seal | Self::SealOne)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Gcm128,
    Gcm256,
    CmSha1,
}

impl Cipher {
    const ALL: [Self; 3] = [Self::Gcm128, Self::Gcm256, Self::CmSha1];

    const fn name(self) -> &'static str {
        match self {
            Self::Gcm128 => "aead_aes_128_gcm",
            Self::Gcm256 => "aead_aes_256_gcm",
            Self::CmSha1 => "aes_cm_128_hmac_sha1_80",
        }
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::Gcm128 | Self::CmSha1 => 16,
            Self::Gcm256 => 32,
        }
    }

    const fn tag_bytes(self) -> usize {
        match self {
            Self::Gcm128 | Self::Gcm256 => 16,
            Self::CmSha1 => 10,
        }
    }
}

/// One line of the report.
#[derive(Serialize)]
pub struct Row {
    /// Cipher.
    kernel: &'static str,
    /// Suite of ours.
    suite: &'static str,
    /// `seal` and `open` take many packets in a call, `seal_one` and `open_one` one.
    operation: &'static str,
    /// Payload bytes.
    bytes: usize,
    /// Median over rounds, time-stamp-counter cycles.
    cycles_per_packet: u64,
    /// The same of `ring`; null where it lacks the cipher.
    ring: Option<u64>,
    /// The same of `aws-lc`.
    aws_lc: Option<u64>,
    /// The same of OpenSSL, by hand; null where the host has no `libcrypto.so.3`.
    openssl: Option<u64>,
    /// Our cycles divided by `ring`'s.
    of_ring: Option<f64>,
    /// Our cycles divided by `aws-lc`'s.
    of_aws_lc: Option<f64>,
    /// Our cycles divided by OpenSSL's.
    of_openssl: Option<f64>,
    /// The fastest library's cycles divided by ours: above 1 we win.
    ratio: Option<f64>,
    /// Whether our output equals the libraries' byte for byte.
    equal: bool,
    /// Hash of our output: depends on cipher, operation and size alone.
    result_hash: String,
}

impl Row {
    /// Heads the table of [`Self::line`].
    pub fn heading() -> String {
        format!(
            "{:<24} {:<14} {:<8} {:>6} {:>8} {:>8} {:>5} {:>8} {:>5} {:>8} {:>5}",
            "kernel",
            "suite",
            "op",
            "bytes",
            "cycles",
            "ring",
            "of it",
            "aws-lc",
            "of it",
            "openssl",
            "of it"
        )
    }

    /// One line of the human table; TSC cycles per packet, and ours as a part of each library's.
    pub fn line(&self) -> String {
        let cells =
            [(self.ring, self.of_ring), (self.aws_lc, self.of_aws_lc), (self.openssl, self.of_openssl)].map(
                |(cycles, part)| match (cycles, part) {
                    (Some(cycles), Some(part)) => format!("{cycles:>8} {part:>5.2}"),
                    _ => format!("{:>8} {:>5}", "-", "-"),
                },
            );
        format!(
            "{:<24} {:<14} {:<8} {:>6} {:>8} {}",
            self.kernel,
            self.suite,
            self.operation,
            self.bytes,
            self.cycles_per_packet,
            cells.join(" ")
        )
    }

    /// Whether our output is that of the libraries.
    pub const fn is_equal(&self) -> bool {
        self.equal
    }
}

/// Seals or opens one packet for each of the `KEYS`: payload, then a buffer each with room for it and a tag.
type Packet = Box<dyn FnMut(&[u8], &mut [Vec<u8>])>;

struct Contestant {
    name: &'static str,
    run: Packet,
}

/// Measures everything: `rounds` rounds of 200 packets for each contestant.
pub fn run(suites: &[Suite], sizes: &[usize], rounds: usize, mut each: impl FnMut(Row)) {
    for cipher in Cipher::ALL {
        for &operation in Operation::all(cipher) {
            for &bytes in sizes {
                measure(cipher, operation, suites, bytes, rounds, &mut each);
            }
        }
    }
}

fn measure(
    cipher: Cipher,
    operation: Operation,
    suites: &[Suite],
    bytes: usize,
    rounds: usize,
    each: &mut impl FnMut(Row),
) {
    let mut contestants: Vec<Contestant> =
        suites.iter().map(|&suite| ours(cipher, operation, suite)).collect();
    contestants.extend(ring(cipher, operation));
    contestants.push(aws_lc(cipher, operation));
    contestants.extend(OpenSsl::load().map(|library| openssl(library, cipher, operation)));
    let body = input(bytes);
    // What is opened: every library seals alike.
    let sealed = (!operation.seals()).then(|| {
        let mut sealed = vec![vec![0; bytes + TAG_BYTES_MAX]; KEYS];
        (aws_lc(cipher, Operation::Seal).run)(&body, &mut sealed);
        sealed
    });
    let fresh = |output: &mut [Vec<u8>]| {
        for (out, sealed) in output.iter_mut().zip(sealed.iter().flatten()) {
            out.copy_from_slice(sealed);
        }
    };
    let mut outputs = vec![vec![vec![0; bytes + TAG_BYTES_MAX]; KEYS]; contestants.len()];
    let mut ticks = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..rounds.max(1) {
        for ((contestant, output), ticks) in contestants.iter_mut().zip(&mut outputs).zip(&mut ticks) {
            // The reference takes a hundred times as long: it is there for its output, so few rounds do.
            if contestant.name == Suite::scalar().name() && round % SCALAR_EVERY != 0 {
                continue;
            }
            // Once for the caches, once for the clock.
            fresh(output);
            (contestant.run)(black_box(&body), output);
            fresh(output);
            let start = cycles::now();
            (contestant.run)(black_box(&body), output);
            ticks.push((cycles::now() - start) / KEYS as u64);
        }
    }
    let medians: Vec<u64> = ticks
        .iter_mut()
        .map(|ticks| {
            ticks.sort_unstable();
            ticks[ticks.len() / 2]
        })
        .collect();
    let of = |name| contestants.iter().position(|c| c.name == name).map(|at| medians[at]);
    let (ring, aws_lc, openssl) = (of("ring"), of("aws-lc"), of("openssl"));
    let kept = bytes + if operation.seals() { cipher.tag_bytes() } else { 0 };
    let cut = |output: &[Vec<u8>]| -> Vec<Vec<u8>> { output.iter().map(|o| o[..kept].to_vec()).collect() };
    let libraries: Vec<_> = outputs[suites.len()..].iter().map(|output| cut(output)).collect();
    for (index, suite) in suites.iter().enumerate() {
        let own = cut(&outputs[index]);
        let cycles = medians[index].max(1);
        let two_digits = |value: f64| (value * 100.0).round() / 100.0;
        let part = |library: Option<u64>| library.map(|of| two_digits(cycles as f64 / of.max(1) as f64));
        let best = [ring, aws_lc, openssl].into_iter().flatten().min();
        each(Row {
            kernel: cipher.name(),
            suite: suite.name(),
            operation: operation.name(),
            bytes,
            cycles_per_packet: medians[index],
            ring,
            aws_lc,
            openssl,
            of_ring: part(ring),
            of_aws_lc: part(aws_lc),
            of_openssl: part(openssl),
            ratio: best.map(|best| two_digits(best as f64 / cycles as f64)),
            equal: libraries.iter().all(|library| *library == own),
            result_hash: format!("{:016x}", hash(&own)),
        });
    }
}

fn hash(outputs: &[Vec<u8>]) -> u64 {
    outputs.iter().flatten().fold(0, |hash, &byte| mix(hash, u64::from(byte)))
}

fn key(index: usize) -> [u8; 32] {
    std::array::from_fn(|at| (index * 31 + at * 7) as u8)
}

fn gcm_iv(index: usize) -> [u8; 12] {
    [index as u8; 12]
}

fn cm_iv(index: usize) -> [u8; 16] {
    let mut iv = [index as u8; 16];
    // The last two bytes count blocks.
    iv[14..].fill(0);
    iv
}

fn cm_auth(index: usize) -> [u8; 20] {
    std::array::from_fn(|at| (index * 13 + at * 5) as u8)
}

/// What is sealed.
fn input(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| at as u8).collect()
}

/// Opens what [`measure`] has put into the buffers, each by itself.
fn opening(mut open: impl FnMut(usize, &mut [u8]) + 'static, tag_bytes: usize) -> Packet {
    Box::new(move |body, outputs| {
        for (index, out) in outputs.iter_mut().enumerate() {
            open(index, &mut out[..body.len() + tag_bytes]);
        }
    })
}

fn ours(cipher: Cipher, operation: Operation, suite: Suite) -> Contestant {
    let run = match cipher {
        Cipher::Gcm128 | Cipher::Gcm256 => ours_gcm(cipher, operation, suite),
        Cipher::CmSha1 => ours_cm(operation, suite),
    };
    Contestant { name: suite.name(), run }
}

fn ours_gcm(cipher: Cipher, operation: Operation, suite: Suite) -> Packet {
    let keys: Vec<GcmKey> = (0..KEYS)
        .map(|index| GcmKey::new(suite, &key(index)[..cipher.key_bytes()]).expect("16 or 32 bytes"))
        .collect();
    if operation.seals() {
        return Box::new(move |body, outputs| {
            let jobs = keys.iter().zip(outputs).enumerate().map(|(index, (key, out))| SealJob {
                key,
                iv: gcm_iv(index),
                header: &HEADER,
                prefix: &[],
                trailer: (),
                out: &mut out[..],
            });
            seal_many(body, jobs);
        });
    }
    Box::new(move |body, outputs| {
        let bytes = body.len() + cipher.tag_bytes();
        let jobs = keys.iter().zip(outputs).enumerate().map(|(index, (key, out))| OpenJob {
            key,
            iv: gcm_iv(index),
            header: &HEADER,
            trailer: (),
            buf: &mut out[..bytes],
        });
        open_many(jobs, |_, answer| assert!(answer.is_ok(), "our own ciphertext"));
    })
}

fn ours_cm(operation: Operation, suite: Suite) -> Packet {
    let keys: Vec<CmSha1Key> = (0..KEYS)
        .map(|index| {
            let enc = key(index);
            CmSha1Key::new(suite, enc.first_chunk().expect("32 bytes begin with 16"), &cm_auth(index))
        })
        .collect();
    let sealing = keys.clone();
    let seal = move |index: usize, body: &[u8], out: &mut [u8]| {
        sealing[index].seal(&cm_iv(index), &HEADER, &[&[], body], &[0; 4], out);
    };
    let tag_bytes = Cipher::CmSha1.tag_bytes();
    match operation {
        Operation::Seal => Box::new(move |body, outputs| {
            let jobs = keys.iter().zip(outputs).enumerate().map(|(index, (key, out))| SealJob {
                key,
                iv: cm_iv(index),
                header: &HEADER,
                prefix: &[],
                trailer: [0; 4],
                out: &mut out[..],
            });
            seal_many(body, jobs);
        }),
        Operation::Open => Box::new(move |body, outputs| {
            let jobs = keys.iter().zip(outputs).enumerate().map(|(index, (key, out))| OpenJob {
                key,
                iv: cm_iv(index),
                header: &HEADER,
                trailer: [0; 4],
                buf: &mut out[..body.len() + tag_bytes],
            });
            open_many(jobs, |_, answer| assert!(answer.is_ok(), "our own ciphertext"));
        }),
        Operation::SealOne | Operation::OpenOne => {
            let open = move |index: usize, out: &mut [u8]| {
                keys[index].open_in_place(&cm_iv(index), &HEADER, out, &[0; 4]).expect("our own ciphertext");
            };
            packet(operation, seal, open, tag_bytes)
        }
    }
}

fn ring(cipher: Cipher, operation: Operation) -> Option<Contestant> {
    use ring_aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let algorithm = match cipher {
        Cipher::Gcm128 => &AES_128_GCM,
        Cipher::Gcm256 => &AES_256_GCM,
        Cipher::CmSha1 => return None,
    };
    let keys = move || -> Vec<LessSafeKey> {
        (0..KEYS)
            .map(|index| {
                let key = key(index);
                LessSafeKey::new(
                    UnboundKey::new(algorithm, &key[..cipher.key_bytes()]).expect("16 or 32 bytes"),
                )
            })
            .collect()
    };
    let sealing = keys();
    let seal = move |index: usize, body: &[u8], out: &mut [u8]| {
        let (text, rest) = out.split_at_mut(body.len());
        text.copy_from_slice(body);
        let nonce = Nonce::assume_unique_for_key(gcm_iv(index));
        let tag =
            sealing[index].seal_in_place_separate_tag(nonce, Aad::from(&HEADER), text).expect("short text");
        rest[..16].copy_from_slice(tag.as_ref());
    };
    let opening_keys = keys();
    let open = move |index: usize, out: &mut [u8]| {
        let nonce = Nonce::assume_unique_for_key(gcm_iv(index));
        opening_keys[index].open_in_place(nonce, Aad::from(&HEADER), out).expect("its own ciphertext");
    };
    Some(Contestant { name: "ring", run: packet(operation, seal, open, 16) })
}

fn aws_lc(cipher: Cipher, operation: Operation) -> Contestant {
    let run = match cipher {
        Cipher::Gcm128 => aws_lc_gcm(&aws::AES_128_GCM, cipher, operation),
        Cipher::Gcm256 => aws_lc_gcm(&aws::AES_256_GCM, cipher, operation),
        Cipher::CmSha1 => aws_lc_cm(operation),
    };
    Contestant { name: "aws-lc", run }
}

fn aws_lc_gcm(algorithm: &'static aws::Algorithm, cipher: Cipher, operation: Operation) -> Packet {
    use aws::{Aad, LessSafeKey, Nonce, UnboundKey};
    let keys = || -> Vec<LessSafeKey> {
        (0..KEYS)
            .map(|index| {
                let key = key(index);
                LessSafeKey::new(
                    UnboundKey::new(algorithm, &key[..cipher.key_bytes()]).expect("16 or 32 bytes"),
                )
            })
            .collect()
    };
    let (sealing, opening_keys) = (keys(), keys());
    let seal = move |index: usize, body: &[u8], out: &mut [u8]| {
        let (text, rest) = out.split_at_mut(body.len());
        text.copy_from_slice(body);
        let nonce = Nonce::assume_unique_for_key(gcm_iv(index));
        let tag =
            sealing[index].seal_in_place_separate_tag(nonce, Aad::from(&HEADER), text).expect("short text");
        rest[..16].copy_from_slice(tag.as_ref());
    };
    let open = move |index: usize, out: &mut [u8]| {
        let nonce = Nonce::assume_unique_for_key(gcm_iv(index));
        opening_keys[index].open_in_place(nonce, Aad::from(&HEADER), out).expect("its own ciphertext");
    };
    packet(operation, seal, open, 16)
}

fn aws_lc_cm(operation: Operation) -> Packet {
    use aws_lc_rs::{cipher, hmac};
    struct Key {
        encrypt: cipher::EncryptingKey,
        mac: hmac::Key,
    }
    let keys = || -> Vec<Key> {
        (0..KEYS)
            .map(|index| {
                let enc = key(index);
                let unbound = cipher::UnboundCipherKey::new(&cipher::AES_128, &enc[..16]).expect("16 bytes");
                Key {
                    encrypt: cipher::EncryptingKey::ctr(unbound).expect("an AES-128 key"),
                    mac: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &cm_auth(index)),
                }
            })
            .collect()
    };
    fn tag(key: &Key, text: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&key.mac);
        context.update(&HEADER);
        context.update(text);
        context.update(&[0; 4]);
        context.sign()
    }
    fn crypt(key: &Key, index: usize, text: &mut [u8]) {
        let context = cipher::EncryptionContext::Iv128(cm_iv(index).into());
        key.encrypt.less_safe_encrypt(text, context).expect("counter mode takes any length");
    }
    let (sealing, opening_keys) = (keys(), keys());
    let seal = move |index: usize, body: &[u8], out: &mut [u8]| {
        let (text, rest) = out.split_at_mut(body.len());
        text.copy_from_slice(body);
        crypt(&sealing[index], index, text);
        rest[..10].copy_from_slice(&tag(&sealing[index], text).as_ref()[..10]);
    };
    let open = move |index: usize, out: &mut [u8]| {
        let at = out.len() - 10;
        let (text, received) = out.split_at_mut(at);
        assert!(tag(&opening_keys[index], text).as_ref()[..10] == *received, "its own ciphertext");
        crypt(&opening_keys[index], index, text);
    };
    packet(operation, seal, open, 10)
}

/// OpenSSL by hand. It writes straight to the send buffer: its calls take source and destination apart.
fn openssl(library: OpenSsl, cipher: Cipher, operation: Operation) -> Contestant {
    let run = match cipher {
        Cipher::Gcm128 | Cipher::Gcm256 => {
            let keys = |direction| -> Vec<openssl::Gcm> {
                (0..KEYS).map(|index| library.gcm(&key(index)[..cipher.key_bytes()], direction)).collect()
            };
            let (mut sealing, mut opening_keys) = (keys(Direction::Seal), keys(Direction::Open));
            let seal = move |index: usize, body: &[u8], out: &mut [u8]| {
                sealing[index].seal(&gcm_iv(index), &HEADER, body, out);
            };
            let open = move |index: usize, out: &mut [u8]| {
                assert!(opening_keys[index].open(&gcm_iv(index), &HEADER, out), "its own ciphertext");
            };
            packet(operation, seal, open, cipher.tag_bytes())
        }
        Cipher::CmSha1 => {
            let keys = || -> Vec<openssl::CtrHmac> {
                (0..KEYS)
                    .map(|index| {
                        let enc = key(index);
                        library.ctr_hmac(enc.first_chunk().expect("32 bytes begin with 16"), &cm_auth(index))
                    })
                    .collect()
            };
            let (mut sealing, mut opening_keys) = (keys(), keys());
            let seal = move |index: usize, body: &[u8], out: &mut [u8]| {
                let (text, rest) = out.split_at_mut(body.len());
                sealing[index].apply(&cm_iv(index), body, text);
                rest[..10].copy_from_slice(&sealing[index].mac(&[&HEADER, text, &[0; 4]])[..10]);
            };
            let open = move |index: usize, out: &mut [u8]| {
                let at = out.len() - 10;
                let (text, received) = out.split_at_mut(at);
                let mac = opening_keys[index].mac(&[&HEADER, text, &[0; 4]]);
                assert!(mac[..10] == *received, "its own ciphertext");
                opening_keys[index].apply_in_place(&cm_iv(index), text);
            };
            packet(operation, seal, open, cipher.tag_bytes())
        }
    };
    Contestant { name: "openssl", run }
}

fn packet(
    operation: Operation,
    mut seal: impl FnMut(usize, &[u8], &mut [u8]) + 'static,
    open: impl FnMut(usize, &mut [u8]) + 'static,
    tag_bytes: usize,
) -> Packet {
    if !operation.seals() {
        return opening(open, tag_bytes);
    }
    Box::new(move |body, outputs| {
        for (index, out) in outputs.iter_mut().enumerate() {
            seal(index, body, out);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestant_writes_the_same_bytes() {
        let suites: Vec<Suite> = Suite::available().collect();
        let mut rows = Vec::new();
        run(&suites, &[0, 33, 160], 1, |row| rows.push(row));
        assert_eq!(rows.len(), (2 + 2 + 4) * 3 * suites.len());
        for row in &rows {
            assert!(row.equal, "{} {} {} {}", row.kernel, row.suite, row.operation, row.bytes);
            assert!(row.aws_lc.is_some());
            let twin = rows.iter().find(|other| {
                (other.kernel, other.operation, other.bytes) == (row.kernel, row.operation, row.bytes)
            });
            assert_eq!(twin.map(|other| &other.result_hash), Some(&row.result_hash));
        }
    }
}
