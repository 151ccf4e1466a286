use super::*;
use crate::base::drops::DropReason;
use crate::base::limits::SSRCS_PER_PEER;
use crate::base::rng::Rng;

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::Aes128CmSha1_80, SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm];
const SSRC: Ssrc = Ssrc(0xcafe_babe);

/// Key 00 01 02 …, salt a0 a1 a2 ….
fn master() -> MasterKey {
    MasterKey {
        key: std::array::from_fn(|index| index as u8),
        salt: std::array::from_fn(|index| 0xa0 + index as u8),
    }
}

fn pair(profile: SrtpProfile) -> (Outbound, Inbound) {
    let suite = Suite::detect();
    (Outbound::new(suite, profile, &master()), Inbound::new(suite, profile, &master()))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn header(ssrc: Ssrc, index: u64) -> [u8; 12] {
    let mut header = [0x80, 96, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    header[8..].copy_from_slice(&ssrc.0.to_be_bytes());
    header
}

fn sealed(outbound: &Outbound, ssrc: Ssrc, index: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 12 + payload.len() + RTP_OVERHEAD_BYTES];
    let bytes =
        outbound.seal_rtp(ssrc, index, &header(ssrc, index), [payload, &[]], &mut out).expect("it fits");
    out.truncate(bytes);
    out
}

/// A receiver report of 32 bytes.
fn report() -> Vec<u8> {
    hex("81c90007 cafebabe 11111111 19fffffd 0001ffff 0000005a 03040506 00010000")
}

/// What another implementation (libsrtp) makes of the same keys and packets: sequence numbers 65,535 and 0 with a header
/// extension, and its second SRTCP packet (it counts from one).
struct Foreign {
    profile: SrtpProfile,
    rtp: [&'static str; 2],
    rtcp: [&'static str; 2],
}

const FOREIGN: [Foreign; 3] = [
    Foreign {
        profile: SrtpProfile::Aes128CmSha1_80,
        rtp: [
            "9060ffff01020304cafebabebede000110aa00006adb4a346c49df5eabd5f733da6a0417bbc7d5b4c924d2",
            "9060000001020304cafebabebede000110aa0000a363a4e87102da6535baa2d1bc692f8732e7e94b1867ff",
        ],
        rtcp: [
            "81c90007cafebabeecce05bb3369943407b7a2a3f4dc6d7913028f5efd61b70980000001f6bfdcb2212394de00c2",
            "81c90007cafebabe8b6aec4faba4d8e4c466c8a79b7f7be09afcf0e88f2211cc80000002c009dcfcc55d87c4419b",
        ],
    },
    Foreign {
        profile: SrtpProfile::AeadAes128Gcm,
        rtp: [
            "9060ffff01020304cafebabebede000110aa0000145e73c2df48501a7c043f5655e84d302899198bd2878c98420270bd0c",
            "9060000001020304cafebabebede000110aa00007fa6af32d547ced45b58b3e189093580cc91e67bf51ac053b25da7cb9d",
        ],
        rtcp: [
            "81c90007cafebabe733131e7426d7e032e8138750725dbd4ca6a09ee2a43ddf9deff131773d542fada4524e1aca3669c80000001",
            "81c90007cafebabe2ff2e823b31f76d09da3bdd09db9c5c1cc5777705b94aa207a5949c73ad256ccc4d414dea2e3a26f80000002",
        ],
    },
    Foreign {
        profile: SrtpProfile::AeadAes256Gcm,
        rtp: [
            "9060ffff01020304cafebabebede000110aa000032a5575585c6b9f1b8e04a02e721d9721d4f0b06b6eb091ce276970401",
            "9060000001020304cafebabebede000110aa0000d033254641fd5f6780c9cdc24eb4e21d9d048dea592eb72836af1fb26b",
        ],
        rtcp: [
            "81c90007cafebabe3005151d32535ec643a5c53564e107f9c1e1284e2f4d4a739ba7bbadafc67e242db9344ce585cc7b80000001",
            "81c90007cafebabe8b82cbc27169d6a0b95a53483d0e4d39cf87f08323a0f45dd5a70d035e6eeba21451de4013275ad280000002",
        ],
    },
];

#[test]
fn another_implementation_seals_the_same_bytes() {
    for suite in Suite::available() {
        for foreign in &FOREIGN {
            let name = format!("{:?} with {}", foreign.profile, suite.name());
            let mut outbound = Outbound::new(suite, foreign.profile, &master());
            let mut inbound = Inbound::new(suite, foreign.profile, &master());
            for (expected, index) in foreign.rtp.iter().zip([65_535_u64, 65_536]) {
                let mut packet = hex(expected);
                let mut out = [0; 128];
                let bytes = outbound
                    .seal_rtp(SSRC, index, &packet[..20], [b"kaigi", b" payload"], &mut out)
                    .expect("it fits");
                assert_eq!(out[..bytes], packet, "{name}");
                let opened = inbound.open_rtp(&mut packet).expect("authentic");
                assert_eq!(opened, OpenedRtp { header_bytes: 20, bytes: 33, index, newest: true }, "{name}");
                assert_eq!(&packet[20..33], b"kaigi payload", "{name}");
            }
            outbound.rtcp_index = 1;
            for expected in foreign.rtcp {
                let mut packet = hex(expected);
                let mut out = [0; 128];
                let bytes = outbound.seal_rtcp(&report(), &mut out).expect("it fits");
                assert_eq!(out[..bytes], packet, "{name}");
                let bytes = inbound.open_rtcp(&mut packet).expect("authentic").bytes;
                assert_eq!(packet[..bytes], report(), "{name}");
            }
        }
    }
}

/// RFC 7714 sections 16.1.1, 16.2.1 and 17.1: the session key and salt are given, not derived.
#[test]
fn the_packets_of_rfc_7714_hold() {
    let salt: [u8; 12] = *b"Quid pro quo";
    let key: [u8; 32] = std::array::from_fn(|index| index as u8);
    let rtp_plain =
        hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
         61727465 73207472 6573");
    let sealed_with_128 = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
         42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    let sealed_with_256 = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
         b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
    let rtcp_plain =
        hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
         deadbeef deadbeef deadbeef");
    let rtcp_sealed = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
         730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    for suite in Suite::available() {
        for (key_bytes, expected) in [(16, sealed_with_128), (32, sealed_with_256)] {
            let cipher = || Cipher::Gcm {
                key: GcmKey::new(suite, &key[..key_bytes]).expect("16 or 32 bytes"),
                salt: Salt(salt),
            };
            let (mut outbound, mut inbound) = pair(SrtpProfile::AeadAes128Gcm);
            (outbound.rtp, outbound.rtcp) = (cipher(), cipher());
            (inbound.rtp, inbound.rtcp) = (cipher(), cipher());
            let mut out = [0; 128];
            let bytes = outbound
                .seal_rtp(Ssrc(0x5501_a0b2), 0xf17b, &rtp_plain[..12], [&rtp_plain[12..], &[]], &mut out)
                .expect("it fits");
            assert_eq!(out[..bytes], hex(expected));
            let opened = inbound.open_rtp(&mut out[..bytes]).expect("authentic");
            assert_eq!(out[..opened.bytes], rtp_plain);
            if key_bytes == 16 {
                outbound.rtcp_index = 0x5d4;
                let bytes = outbound.seal_rtcp(&rtcp_plain, &mut out).expect("it fits");
                assert_eq!(out[..bytes], hex(rtcp_sealed));
                let bytes = inbound.open_rtcp(&mut out[..bytes]).expect("authentic").bytes;
                assert_eq!(out[..bytes], rtcp_plain);
            }
        }
    }
}

#[test]
fn what_is_sealed_opens_across_roll_overs_losses_and_reordering() {
    let mut rng = Rng::new(30);
    for profile in PROFILES {
        let (outbound, mut inbound) = pair(profile);
        let mut highest = rng.below(0x8000);
        let mut first = true;
        for round in 0..3_000 {
            let index = if first {
                highest
            } else {
                // Up to a thousand lost at once, up to a thousand late.
                (highest + 1 + rng.below(1_000)).saturating_sub(rng.below(1_000))
            };
            let payload: Vec<u8> = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect();
            let mut packet = sealed(&outbound, SSRC, index, &payload);
            match inbound.open_rtp(&mut packet) {
                Ok(opened) => {
                    let bytes = 12 + payload.len();
                    let newest = first || index > highest;
                    assert_eq!(opened, OpenedRtp { header_bytes: 12, bytes, index, newest });
                    assert_eq!(packet[12..opened.bytes], payload, "{profile:?} round {round}");
                }
                Err(reason) => {
                    assert_eq!(reason, DropReason::Replayed, "{profile:?} round {round}");
                    assert!(index <= highest && !first);
                }
            }
            first = false;
            highest = highest.max(index);
        }
        assert!(highest > 1 << 18, "several roll-overs were crossed");
    }
}

#[test]
fn a_packet_is_taken_once_and_a_forged_one_changes_nothing() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let packet = sealed(&outbound, SSRC, 100, b"once");
        for at in 0..packet.len() {
            let mut forged = packet.clone();
            forged[at] ^= 1;
            assert!(inbound.open_rtp(&mut forged).is_err(), "{profile:?}: byte {at}");
        }
        assert!(inbound.open_rtp(&mut packet.clone()).is_ok());
        assert_eq!(inbound.open_rtp(&mut packet.clone()), Err(DropReason::Replayed));
        // A forgery far ahead must not move the window.
        let mut ahead = sealed(&outbound, SSRC, 30_000, b"ahead");
        let last = ahead.len() - 1;
        ahead[last] ^= 1;
        assert_eq!(inbound.open_rtp(&mut ahead), Err(DropReason::BadTag));
        assert!(ahead[12..].iter().all(|&byte| byte == 0), "no plaintext of a forgery is left");
        assert!(inbound.open_rtp(&mut sealed(&outbound, SSRC, 99, b"late")).is_ok());

        let mut out = [0; 128];
        let bytes = outbound.seal_rtcp(&report(), &mut out).expect("it fits");
        for at in 0..bytes {
            let mut forged = out[..bytes].to_vec();
            forged[at] ^= 1;
            assert!(inbound.open_rtcp(&mut forged).is_err(), "{profile:?}: byte {at}");
        }
        assert!(inbound.open_rtcp(&mut out[..bytes].to_vec()).is_ok());
        assert_eq!(inbound.open_rtcp(&mut out[..bytes].to_vec()), Err(DropReason::Replayed));
    }
}

#[test]
fn packets_cut_at_any_byte_are_refused() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let packet = sealed(&outbound, SSRC, 1, b"payload");
        let mut out = [0; 128];
        let rtcp_bytes = outbound.seal_rtcp(&report(), &mut out).expect("it fits");
        for length in 0..packet.len() {
            assert!(inbound.open_rtp(&mut packet[..length].to_vec()).is_err(), "{profile:?} cut at {length}");
        }
        for length in 0..rtcp_bytes {
            assert!(inbound.open_rtcp(&mut out[..length].to_vec()).is_err(), "{profile:?} cut at {length}");
        }
    }
}

#[test]
fn only_authentic_packets_make_streams_and_only_so_many() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        for ssrc in 0..2 * SSRCS_PER_PEER as u32 {
            let mut forged = sealed(&outbound, Ssrc(ssrc), 1, b"x");
            *forged.last_mut().expect("not empty") ^= 1;
            assert_eq!(inbound.open_rtp(&mut forged), Err(DropReason::BadTag));
        }
        for ssrc in 0..SSRCS_PER_PEER as u32 {
            assert!(inbound.open_rtp(&mut sealed(&outbound, Ssrc(ssrc), 1, b"x")).is_ok());
        }
        let mut one_more = sealed(&outbound, SSRC, 1, b"x");
        assert_eq!(inbound.open_rtp(&mut one_more), Err(DropReason::TooManySsrcs));
        assert!(inbound.open_rtp(&mut sealed(&outbound, Ssrc(7), 2, b"x")).is_ok(), "known streams go on");

        for ssrc in 0..=SSRCS_PER_PEER as u32 {
            let mut plain = report();
            plain[4..8].copy_from_slice(&ssrc.to_be_bytes());
            let mut out = [0; 128];
            let bytes = outbound.seal_rtcp(&plain, &mut out).expect("it fits");
            let expected = ssrc < SSRCS_PER_PEER as u32;
            assert_eq!(inbound.open_rtcp(&mut out[..bytes]).is_ok(), expected);
        }
    }
}

#[test]
fn an_ended_stream_makes_room_and_cannot_be_played_again() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let recorded: Vec<_> = [70_000, 70_001, 70_003].map(|i| sealed(&outbound, SSRC, i, b"x")).into();
        // The stream begins below the roll-over and goes on above it.
        assert!(inbound.open_rtp(&mut sealed(&outbound, SSRC, 40_000, b"x")).is_ok());
        for packet in &recorded {
            assert!(inbound.open_rtp(&mut packet.clone()).is_ok());
        }
        inbound.retire(SSRC);
        for packet in &recorded {
            assert_eq!(inbound.open_rtp(&mut packet.clone()), Err(DropReason::Replayed));
        }
        assert_eq!(inbound.open_rtp(&mut sealed(&outbound, SSRC, 69_999, b"x")), Err(DropReason::Replayed));
        let mut next = sealed(&outbound, SSRC, 70_005, b"x");
        assert_eq!(inbound.open_rtp(&mut next).map(|opened| opened.index), Ok(70_005));
        assert!(inbound.open_rtp(&mut sealed(&outbound, SSRC, 70_004, b"x")).is_ok());
        assert_eq!(inbound.open_rtp(&mut recorded[2].clone()), Err(DropReason::Replayed));

        // However many streams come and go, the next one is taken.
        for ssrc in 0..10 * SSRCS_PER_PEER as u32 {
            assert!(inbound.open_rtp(&mut sealed(&outbound, Ssrc(ssrc), 1, b"x")).is_ok());
            let mut plain = report();
            plain[4..8].copy_from_slice(&ssrc.to_be_bytes());
            let mut out = [0; 128];
            let bytes = outbound.seal_rtcp(&plain, &mut out).expect("it fits");
            assert!(inbound.open_rtcp(&mut out[..bytes]).is_ok());
            inbound.retire(Ssrc(ssrc));
        }
    }
}

#[test]
fn a_used_up_key_seals_nothing_more() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let mut out = [0; 128];
        let header = header(SSRC, RTP_INDEX_END);
        assert_eq!(
            outbound.seal_rtp(SSRC, RTP_INDEX_END, &header, [b"x", &[]], &mut out),
            Err(DropReason::KeyExhausted)
        );
        assert!(outbound.seal_rtp(SSRC, RTP_INDEX_END - 1, &header, [b"x", &[]], &mut out).is_ok());
        outbound.rtcp_index = RTCP_INDEX_END - 1;
        let bytes = outbound.seal_rtcp(&report(), &mut out).expect("the last index");
        assert!(inbound.open_rtcp(&mut out[..bytes]).is_ok());
        assert_eq!(outbound.seal_rtcp(&report(), &mut out), Err(DropReason::KeyExhausted));
    }
}

#[test]
fn a_buffer_too_small_is_refused_and_not_written_beyond() {
    for profile in PROFILES {
        let (mut outbound, _) = pair(profile);
        let needed = 12 + 7 + outbound.rtp_overhead_bytes();
        for length in 0..needed {
            assert_eq!(
                outbound.seal_rtp(SSRC, 1, &header(SSRC, 1), [b"pay", b"load"], &mut vec![0; length]),
                Err(DropReason::TooLong)
            );
        }
        let needed = report().len() + outbound.rtcp_overhead_bytes();
        for length in 0..needed {
            assert_eq!(outbound.seal_rtcp(&report(), &mut vec![0; length]), Err(DropReason::TooLong));
        }
        assert_eq!(outbound.seal_rtcp(&[0x80, 200, 0, 0], &mut [0; 64]), Err(DropReason::Truncated));
        assert_eq!(outbound.seal_rtcp(&report(), &mut vec![0; needed]), Ok(needed));
    }
}

#[test]
fn a_tag_that_is_made_later_gives_the_same_bytes() {
    for profile in PROFILES {
        let (outbound, _) = pair(profile);
        let expected = sealed(&outbound, SSRC, 70_000, b"payload");
        let mut out = vec![0; expected.len()];
        out[..12].copy_from_slice(&header(SSRC, 70_000));
        let written = outbound.encrypt_rtp_behind(SSRC, 70_000, 12, [b"pay", b"load"], &mut out);
        assert_eq!(written, Ok(expected.len()));
        let mut tags = Vec::new();
        CmSha1Key::tag_many(outbound.tag_job(70_000, &out), |_, tag| tags.push(tag));
        assert_eq!(tags.len(), usize::from(outbound.has_separate_tags()), "{profile:?}");
        for tag in tags {
            assert_ne!(out, expected, "it has no tag yet");
            let at = out.len() - tag.len();
            out[at..].copy_from_slice(&tag);
        }
        assert_eq!(out, expected, "{profile:?}");
        for length in 0..out.len() {
            let short = outbound.encrypt_rtp_behind(SSRC, 70_000, 12, [b"pay", b"load"], &mut out[..length]);
            assert_eq!(short, Err(DropReason::TooLong));
        }
        assert!(outbound.tag_job(70_000, &out[..9]).is_none());
    }
}

#[test]
fn random_datagrams_never_panic() {
    let mut rng = Rng::new(31);
    for profile in PROFILES {
        let (_, mut inbound) = pair(profile);
        for _ in 0..5_000 {
            let mut packet: Vec<u8> = (0..rng.below(80)).map(|_| rng.next_u64() as u8).collect();
            if let Some(first) = packet.first_mut() {
                *first = 0x80 | *first & 0x1f;
            }
            assert!(inbound.open_rtp(&mut packet.clone()).is_err());
            assert!(inbound.open_rtcp(&mut packet).is_err());
        }
    }
}
