//! Many packets in one call: equal to one at a time on every suite, for every number of jobs, unequal lengths included; a forgery
//! among them is refused alone; and no call allocates.

use kernels::{BadTag, CmSha1Key, GcmKey, HmacSha1, OpenJob, SealJob, Suite, TagJob, open_many, seal_many};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// More than two groups of the widest kernel.
const JOBS: usize = 35;

/// Counts what this thread allocates.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

// SAFETY: every call goes on to the system's allocator; counting touches no memory of the heap.
#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's obligations are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc`, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` allocates.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 167 + seed * 59 + i * i / 7) as u8).collect()
}

fn array<const N: usize>(seed: usize) -> [u8; N] {
    bytes(seed, N).try_into().expect("it was made that long")
}

/// An initialisation vector of SRTP, which ends in the bits that count; of each fifth job any other.
fn cm_iv(index: usize) -> [u8; 16] {
    let mut iv: [u8; 16] = array(index);
    if !index.is_multiple_of(5) {
        iv[14..].fill(0);
    }
    iv
}

/// Header of job `index`: lengths around every SHA-1 block boundary, and more than lanes take.
fn header(index: usize) -> Vec<u8> {
    const LENGTHS: [usize; 10] = [12, 20, 0, 63, 64, 65, 127, 128, 129, 200];
    bytes(index + 100, LENGTHS[index % LENGTHS.len()])
}

/// The lengths at which the blocks of the hash, the padding and the groups of the cipher change.
const LENGTHS: [usize; 12] = [0, 1, 15, 31, 32, 43, 44, 51, 52, 64, 160, 1200];

#[test]
fn any_number_of_aes_cm_jobs_equals_one_at_a_time() {
    for suite in Suite::available() {
        let keys: Vec<_> = (0..JOBS).map(|i| CmSha1Key::new(suite, &array(i), &array(i + 50))).collect();
        for same_shape in [true, false] {
            for (count, len) in (0..=JOBS).flat_map(|count| LENGTHS.map(|len| (count, len))) {
                let body = bytes(3, len);
                let shape = |i: usize| if same_shape { 0 } else { i };
                let headers: Vec<_> = (0..count).map(|i| header(shape(i))).collect();
                let prefixes: Vec<_> = (0..count).map(|i| bytes(i, shape(i) * 5 % 70)).collect();
                let mut outs: Vec<_> = (0..count).map(|i| vec![0xee; prefixes[i].len() + len + 13]).collect();
                let jobs = outs.iter_mut().enumerate().map(|(i, out)| SealJob {
                    key: &keys[i],
                    iv: cm_iv(i),
                    header: &headers[i],
                    prefix: &prefixes[i],
                    trailer: (i as u32).to_be_bytes(),
                    out,
                });
                seal_many(&body, jobs);
                let context = format!("{} {count} jobs of {len} bytes", suite.name());
                for (i, out) in outs.iter().enumerate() {
                    let mut expected = vec![0xee; out.len()];
                    let payload = [&prefixes[i][..], &body[..]];
                    keys[i].seal(&cm_iv(i), &headers[i], &payload, &(i as u32).to_be_bytes(), &mut expected);
                    assert_eq!(*out, expected, "{context}: job {i}");
                }

                // Every third is forged, in another byte each.
                let is_forged = |i: usize| i % 3 == 1;
                for (i, out) in outs.iter_mut().enumerate() {
                    out.truncate(out.len() - 3);
                    let at = i * 31 % out.len();
                    out[at] ^= u8::from(is_forged(i)) << (i % 8);
                }
                let jobs = outs.iter_mut().enumerate().map(|(i, buf)| OpenJob {
                    key: &keys[i],
                    iv: cm_iv(i),
                    header: &headers[i],
                    trailer: (i as u32).to_be_bytes(),
                    buf,
                });
                let mut answers = Vec::new();
                open_many(jobs, |i, answer| {
                    assert_eq!(i, answers.len(), "{context}: out of order");
                    answers.push(answer);
                });
                assert_eq!(answers.len(), count);
                for (i, out) in outs.iter().enumerate() {
                    if is_forged(i) {
                        assert_eq!(answers[i], Err(BadTag), "{context}: job {i}");
                        assert!(out.iter().all(|byte| *byte == 0), "{context}: job {i} left bytes");
                    } else {
                        let plain = [&prefixes[i][..], &body[..]].concat();
                        assert_eq!(answers[i], Ok(plain.len()), "{context}: job {i}");
                        assert_eq!(out[..plain.len()], plain, "{context}: job {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn packets_that_are_encrypted_first_and_tagged_together_equal_sealed_ones() {
    for suite in Suite::available() {
        let keys: Vec<_> = (0..JOBS).map(|i| CmSha1Key::new(suite, &array(i), &array(i + 50))).collect();
        for (count, len) in (0..=JOBS).flat_map(|count| LENGTHS.map(|len| (count, len))) {
            // Every fifth is longer than the others, and one header is very long.
            let texts: Vec<_> = (0..count).map(|i| bytes(i, len + i % 5 / 4 * 70)).collect();
            let headers: Vec<_> = (0..count).map(|i| bytes(i, if i == 20 { 200 } else { 24 })).collect();
            let trailer = |i: usize| (i as u32).to_be_bytes();
            let mut datagrams: Vec<_> = texts.iter().map(|text| vec![0xee; text.len() + 3]).collect();
            for (i, out) in datagrams.iter_mut().enumerate() {
                let (prefix, body) = texts[i].split_at(texts[i].len().min(i % 7));
                assert_eq!(keys[i].encrypt(&cm_iv(i), &[prefix, body], out), texts[i].len());
                assert_eq!(out.split_off(texts[i].len()), [0xee; 3], "nothing is written beyond");
                out.splice(..0, headers[i].iter().copied());
            }
            let jobs =
                (0..count).map(|i| TagJob { key: &keys[i], covered: &datagrams[i], trailer: trailer(i) });
            let mut tags = Vec::new();
            CmSha1Key::tag_many(jobs, |i, tag| {
                assert_eq!(i, tags.len(), "out of order");
                tags.push(tag);
            });
            assert_eq!(tags.len(), count);
            for i in 0..count {
                let mut expected = vec![0; texts[i].len() + CmSha1Key::TAG_BYTES];
                keys[i].seal(&cm_iv(i), &headers[i], &[&texts[i], &[]], &trailer(i), &mut expected);
                let apart = [&datagrams[i][headers[i].len()..], &tags[i]].concat();
                assert_eq!(apart, expected, "{} {count} jobs of {len} bytes: job {i}", suite.name());
            }
        }
    }
}

#[test]
fn a_packet_shorter_than_a_tag_among_others_is_refused_alone() {
    for suite in Suite::available() {
        let key = CmSha1Key::new(suite, &array(1), &array(2));
        let gcm = GcmKey::new(suite, &bytes(1, 32)).expect("32 bytes are a key");
        for cut in [0, 1, 9] {
            let mut sealed = vec![vec![0; 50]; 4];
            for packet in &mut sealed {
                key.seal(&[3; 16], b"header", &[&[], &[7; 40]], &[0; 4], packet);
            }
            sealed[2].truncate(cut);
            let jobs = sealed.iter_mut().map(|buf| OpenJob {
                key: &key,
                iv: [3; 16],
                header: b"header",
                trailer: [0; 4],
                buf,
            });
            open_many(jobs, |i, answer| {
                let expected = if i == 2 { Err(BadTag) } else { Ok(40) };
                assert_eq!(answer, expected, "{} {i} cut to {cut}", suite.name());
            });
            assert!(sealed[2].iter().all(|byte| *byte == 0));

            let mut sealed = vec![vec![0; 56]; 4];
            for packet in &mut sealed {
                gcm.seal(&[3; 12], b"header", &[&[], &[7; 40]], packet);
            }
            sealed[1].truncate(cut);
            let jobs = sealed.iter_mut().map(|buf| OpenJob {
                key: &gcm,
                iv: [3; 12],
                header: b"header",
                trailer: (),
                buf,
            });
            open_many(jobs, |i, answer| assert_eq!(answer, if i == 1 { Err(BadTag) } else { Ok(40) }));
        }
    }
}

#[test]
fn an_out_without_room_for_the_tag_panics_and_is_not_written_beyond() {
    for suite in Suite::available() {
        let keys: Vec<_> = (0..4).map(|i| CmSha1Key::new(suite, &array(i), &array(i))).collect();
        let sealing = std::panic::catch_unwind(|| {
            let mut outs = vec![vec![0; 29]; 4];
            let jobs = outs.iter_mut().zip(&keys).map(|(out, key)| SealJob {
                key,
                iv: [0; 16],
                header: b"header",
                prefix: b"",
                trailer: [0; 4],
                out,
            });
            seal_many(&[1; 20], jobs);
        });
        assert!(sealing.is_err(), "{}", suite.name());
    }
}

/// Sealing, opening and refusing on the packet path allocates nothing, whatever the length.
#[test]
fn no_call_allocates() {
    for suite in Suite::available() {
        let gcm: Vec<_> =
            (0..JOBS).map(|i| GcmKey::new(suite, &bytes(i, 16 + i % 2 * 16)).expect("a key")).collect();
        let cm: Vec<_> = (0..JOBS).map(|i| CmSha1Key::new(suite, &array(i), &array(i + 50))).collect();
        let hmac = HmacSha1::new(suite, b"password");
        let header = header(1);
        for len in [0, 20, 160, 1200, 9000] {
            let body = bytes(3, len);
            let mut outs = vec![vec![0; len + 6 + 16]; JOBS];
            let count = allocations(|| {
                let jobs = outs.iter_mut().zip(&gcm).map(|(out, key)| SealJob {
                    key,
                    iv: [1; 12],
                    header: &header,
                    prefix: b"prefix",
                    trailer: (),
                    out,
                });
                seal_many(&body, jobs);
                let jobs = outs.iter_mut().zip(&gcm).enumerate().map(|(i, (buf, key))| OpenJob {
                    key,
                    iv: [(1 + i % 3 / 2) as u8; 12],
                    header: &header,
                    trailer: (),
                    buf,
                });
                open_many(jobs, |i, answer| assert_eq!(answer.is_err(), i % 3 == 2));

                outs.iter_mut().for_each(|out| out.truncate(len + 6 + 10));
                let jobs = outs.iter_mut().zip(&cm).map(|(out, key)| SealJob {
                    key,
                    iv: [1; 16],
                    header: &header,
                    prefix: b"prefix",
                    trailer: [0; 4],
                    out,
                });
                seal_many(&body, jobs);
                let jobs = outs.iter_mut().zip(&cm).enumerate().map(|(i, (buf, key))| OpenJob {
                    key,
                    iv: [1; 16],
                    header: &header,
                    trailer: [0, 0, 0, (i % 3 / 2) as u8],
                    buf,
                });
                open_many(jobs, |i, answer| assert_eq!(answer.is_err(), i % 3 == 2));
                assert!(!hmac.verify(&[&header, &body], &[0; 20]));
            });
            assert_eq!(count, 0, "{} at {len} bytes", suite.name());
        }
    }
}
