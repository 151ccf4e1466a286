use super::*;
use crate::base::rng::Rng;

const ME: Ssrc = Ssrc(0x1111_1111);
const PEER: Ssrc = Ssrc(0x2222_2222);

fn info() -> SenderInfo {
    SenderInfo { ntp: 0x0102_0304_0506_0708, rtp_timestamp: 90_000, packets: 7, octets: 7_000 }
}

fn block(ssrc: u32) -> ReportBlock {
    ReportBlock {
        ssrc: Ssrc(ssrc),
        fraction_lost: 25,
        cumulative_lost: -3,
        highest_seq: 0x0001_ffff,
        jitter: 90,
        last_sr: 0x0304_0506,
        delay_since_last_sr: 65_536,
    }
}

/// One of everything that can be written.
fn compound(out: &mut [u8]) -> usize {
    let mut writer = RtcpWriter::new(out);
    let fill = |writer: &mut RtcpWriter<'_>| -> Result<(), crate::wire::NoSpace> {
        writer.sender_report(ME, &info(), &[block(1), block(2)])?;
        writer.sdes_cname(ME, b"kaigi")?;
        writer.receiver_report(ME, &[block(3)])?;
        writer.nack(ME, PEER, [65_534, 65_535, 0, 14, 15, 400].map(Seq))?;
        writer.pli(ME, PEER)?;
        writer.fir(ME, PEER, 9)?;
        writer.twcc((ME, PEER), Seq(65_535), -5, 77, &[Some(1), None, Some(-4), Some(300)])?;
        writer.remb(ME, 2_500_000, &[Ssrc(5), Ssrc(6)])?;
        writer.bye(&[ME, PEER])
    };
    fill(&mut writer).expect("the buffer is large enough");
    writer.bytes()
}

/// Events as text, so that borrowed lists can outlive the walk.
fn collect(datagram: &[u8]) -> Result<Vec<String>, DropReason> {
    let mut events = Vec::new();
    parse(datagram, |event| {
        events.push(match event {
            RtcpEvent::Nack { sender, media, list } => {
                format!(
                    "nack {:x} {:x} {:?}",
                    sender.0,
                    media.0,
                    list.iter().map(|s| s.0).collect::<Vec<_>>()
                )
            }
            RtcpEvent::Twcc { feedback, .. } => format!(
                "twcc {} {} {} {:?}",
                feedback.base().0,
                feedback.reference_ticks(),
                feedback.count(),
                feedback.packets().map(|(seq, delta)| (seq.0, delta)).collect::<Vec<_>>()
            ),
            RtcpEvent::Remb { bitrate_bps, ssrcs, .. } => {
                format!("remb {bitrate_bps} {:?}", ssrcs.iter().map(|s| s.0).collect::<Vec<_>>())
            }
            other => format!("{other:?}"),
        });
    })?;
    Ok(events)
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut out = [0xee; 1_200];
    let bytes = compound(&mut out);
    let reported = |ssrc| format!("{:?}", RtcpEvent::ReportBlock { reporter: ME, block: block(ssrc) });
    assert_eq!(
        collect(&out[..bytes]).expect("valid"),
        [
            format!("{:?}", RtcpEvent::SenderReport { sender: ME, info: info() }),
            reported(1),
            reported(2),
            format!("{:?}", RtcpEvent::Ignored { packet_type: PT_SDES, format: 1 }),
            reported(3),
            "nack 11111111 22222222 [65534, 65535, 0, 14, 15, 400]".to_owned(),
            format!("{:?}", RtcpEvent::Pli { sender: ME, media: PEER }),
            format!("{:?}", RtcpEvent::Fir { sender: ME, media: PEER, command: 9 }),
            "twcc 65535 -5 77 [(65535, Some(1)), (0, None), (1, Some(-4)), (2, Some(300))]".to_owned(),
            "remb 2500000 [5, 6]".to_owned(),
            format!("{:?}", RtcpEvent::Bye { ssrc: ME }),
            format!("{:?}", RtcpEvent::Bye { ssrc: PEER }),
        ]
    );
}

#[test]
fn an_independent_parser_reads_what_we_write() {
    let mut out = [0; 1_200];
    let bytes = compound(&mut out);
    let packets: Result<Vec<_>, _> =
        rtcp_types::Compound::parse(&out[..bytes]).expect("a compound").collect();
    let packets = packets.expect("every packet is well-formed");
    assert_eq!(packets.len(), 9);
    match &packets[1] {
        rtcp_types::Packet::Sdes(sdes) => {
            let chunk = sdes.chunks().next().expect("one chunk");
            assert_eq!(chunk.items().next().map(|item| item.value()), Some(&b"kaigi"[..]));
        }
        other => panic!("expected a source description, got {other:?}"),
    }
    match &packets[3] {
        rtcp_types::Packet::TransportFeedback(feedback) => {
            let nack: rtcp_types::Nack<'_> = feedback.parse_fci().expect("a NACK");
            assert_eq!(nack.entries().collect::<Vec<_>>(), [65_534, 65_535, 0, 14, 15, 400]);
        }
        other => panic!("expected transport feedback, got {other:?}"),
    }
}

#[test]
fn cutting_a_compound_anywhere_but_between_packets_refuses_all_of_it() {
    let mut out = [0; 1_200];
    let bytes = compound(&mut out);
    let mut ends = Vec::new();
    let mut at = 0;
    while at < bytes {
        at += 4 * (usize::from(u16::from_be_bytes([out[at + 2], out[at + 3]])) + 1);
        ends.push(at);
    }
    for length in 0..bytes {
        let mut visited = 0;
        let result = parse(&out[..length], |_| visited += 1);
        assert_eq!(result.is_ok(), ends.contains(&length), "cut at {length}");
        assert!(result.is_ok() || visited == 0, "events of a refused compound at {length}");
    }
}

#[test]
fn a_packet_that_does_not_fit_leaves_the_compound_as_it_was() {
    let mut out = [0; 20];
    let mut writer = RtcpWriter::new(&mut out);
    writer.pli(ME, PEER).expect("12 of 20 bytes");
    assert!(writer.pli(ME, PEER).is_err());
    assert!(writer.sender_report(ME, &info(), &[]).is_err());
    assert_eq!(writer.bytes(), 12);
    assert_eq!(collect(&out[..12]).map(|events| events.len()), Ok(1));
    let mut full = [0; 1_200];
    let bytes = compound(&mut full);
    for length in 0..bytes {
        let mut small = vec![0; length];
        let mut writer = RtcpWriter::new(&mut small);
        let result = writer
            .sender_report(ME, &info(), &[block(1)])
            .and_then(|()| writer.sdes_cname(ME, b"kaigi"))
            .and_then(|()| writer.nack(ME, PEER, [Seq(1), Seq(40)]))
            .and_then(|()| writer.twcc((ME, PEER), Seq(1), 0, 0, &[Some(1); 3]))
            .and_then(|()| writer.remb(ME, 1, &[PEER]))
            .and_then(|()| writer.fir(ME, PEER, 1));
        let written = writer.bytes();
        assert!(written <= length);
        assert!(result.is_ok() || written < bytes);
        assert!(written == 0 || collect(&small[..written]).is_ok());
    }
    let mut writer = RtcpWriter::new(&mut full);
    assert!(writer.bye(&[ME; 32]).is_err());
    assert!(writer.sdes_cname(ME, &[b'x'; 256]).is_err());
    assert!(writer.is_empty());
}

#[test]
fn browsers_padding_of_feedback_is_not_read_as_feedback() {
    // Transport-wide feedback of one packet, one delta byte, one chunk: 8 + 2 + 1 bytes, one byte of padding.
    let twcc = [0xaf, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 1, 0, 0, 3, 4, 0x20, 0x01, 40, 1];
    assert_eq!(collect(&twcc).expect("valid"), ["twcc 10 3 4 [(10, Some(40))]"]);
    let mut twice = twcc.to_vec();
    twice.extend_from_slice(&twcc);
    assert_eq!(collect(&twice).map(|events| events.len()), Ok(2), "padding before the last packet is taken");
    let nack = [0xa1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 0, 0, 0, 0, 4];
    assert_eq!(collect(&nack).expect("valid"), ["nack 1 2 [10]"]);
    for padding in [0, 17, 255] {
        let mut bad = nack;
        bad[19] = padding;
        assert_eq!(collect(&bad), Err(DropReason::Malformed), "padding {padding}");
    }
}

#[test]
fn a_bad_packet_keeps_the_good_ones_before_it_silent() {
    let mut out = [0; 64];
    let mut writer = RtcpWriter::new(&mut out);
    writer.pli(ME, PEER).expect("fits");
    writer.twcc((ME, PEER), Seq(0), 0, 0, &[Some(1); 8]).expect("fits");
    let bytes = writer.bytes();
    // Two hundred arrivals claimed, eight deltas there.
    (out[27], out[33]) = (200, 200);
    assert_eq!(collect(&out[..bytes]), Err(DropReason::Malformed));
    out[12] = 0x4f;
    assert_eq!(collect(&out[..bytes]), Err(DropReason::Malformed));
}

#[test]
fn one_datagram_cannot_make_us_walk_more_statuses_than_the_bound() {
    // A run of "not received" names 8,191 packets in two bytes; a datagram holds sixty such packets.
    let one = [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0x1f, 0xff, 0, 0, 0, 0, 0x1f, 0xff, 0, 0];
    assert!(collect(&one).is_ok());
    assert_eq!(collect(&one.repeat(2)), Err(DropReason::Malformed));
}

#[test]
fn remb_keeps_eighteen_bits_and_saturates() {
    for bitrate in [0, 1, 262_143, 262_144, 1_000_000, 10_000_000_000, u64::MAX] {
        let mut out = [0; 64];
        let mut writer = RtcpWriter::new(&mut out);
        writer.remb(ME, bitrate, &[PEER]).expect("fits");
        let bytes = writer.bytes();
        parse(&out[..bytes], |event| match event {
            RtcpEvent::Remb { bitrate_bps, .. } => {
                assert!(bitrate_bps <= bitrate && bitrate - bitrate_bps <= bitrate >> 17, "{bitrate}");
            }
            other => panic!("{other:?}"),
        })
        .expect("valid");
    }
    let huge = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0xff, 0xff, 0xff];
    assert_eq!(collect(&huge).expect("valid"), [format!("remb {} []", u64::MAX)]);
    let mut wrong_count = huge;
    wrong_count[16] = 1;
    assert_eq!(collect(&wrong_count), Err(DropReason::Malformed));
}

#[test]
fn nacks_come_back_in_order_whatever_the_gaps() {
    let mut rng = Rng::new(4);
    for _ in 0..2_000 {
        let mut seq = Seq(rng.next_u64() as u16);
        let missing: Vec<Seq> = (0..1 + rng.below(60))
            .map(|_| {
                seq = seq.plus(1 + rng.below(30) as u16);
                seq
            })
            .collect();
        let mut out = [0; 1_200];
        let mut writer = RtcpWriter::new(&mut out);
        writer.nack(ME, PEER, missing.iter().copied()).expect("fits");
        let bytes = writer.bytes();
        let mut read = Vec::new();
        parse(&out[..bytes], |event| {
            if let RtcpEvent::Nack { list, .. } = event {
                read.extend(list.iter());
            }
        })
        .expect("valid");
        assert_eq!(read, missing);
    }
    let mut out = [0; 16];
    let mut writer = RtcpWriter::new(&mut out);
    writer.nack(ME, PEER, []).expect("nothing to write");
    assert!(writer.is_empty());
}

#[test]
fn transport_wide_feedback_survives_every_mixture_of_statuses() {
    let mut rng = Rng::new(5);
    for round in 0..3_000 {
        // Long runs, lone losses and wild deltas in changing proportions.
        let (loss, wide) = (rng.below(400_000) as u32 * (round % 3), rng.below(300_000) as u32 * (round % 2));
        let mut statuses = Vec::new();
        while statuses.len() < 1 + rng.below(300) as usize {
            let status = if rng.chance_ppm(loss) {
                None
            } else if rng.chance_ppm(wide) {
                Some(rng.next_u64() as i16)
            } else {
                Some(rng.below(256) as i16)
            };
            let run = if rng.chance_ppm(200_000) { 1 + rng.below(40) } else { 1 };
            statuses.extend(std::iter::repeat_n(status, run as usize));
        }
        let base = Seq(rng.next_u64() as u16);
        let mut out = [0; 1_400];
        let mut writer = RtcpWriter::new(&mut out);
        writer.twcc((ME, PEER), base, 1_000, 3, &statuses).expect("fits");
        let bytes = writer.bytes();
        let mut read = Vec::new();
        parse(&out[..bytes], |event| {
            if let RtcpEvent::Twcc { feedback, .. } = event {
                read.extend(feedback.packets());
            }
        })
        .expect("valid");
        let expected: Vec<_> =
            statuses.iter().enumerate().map(|(index, &status)| (base.plus(index as u16), status)).collect();
        assert_eq!(read, expected, "round {round}");
    }
}

#[test]
fn feedback_is_whole_exactly_when_the_library_reads_all_of_it() {
    let mut rng = Rng::new(21);
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..50_000 {
        let mut fci = vec![0; 8 + rng.below(24) as usize];
        fci.iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
        let count = rng.below(40) as u16;
        fci[2..4].copy_from_slice(&count.to_be_bytes());
        // Short runs too, and those of nothing.
        if rng.chance_ppm(500_000) && fci.len() >= 10 {
            fci[8..10].copy_from_slice(&((rng.below(4) << 13 | rng.below(20)) as u16).to_be_bytes());
        }
        let feedback = TwccFeedback::new(&fci).expect("eight bytes");
        let listed = feedback.packets().count();
        let expected = listed == usize::from(count) && count > 0 && count <= 30;
        assert_eq!(feedback.validate(30).is_ok(), expected, "{fci:02x?}: {listed}");
        if expected { whole += 1 } else { broken += 1 }
    }
    assert!(whole > 2_000 && broken > 2_000, "{whole} and {broken}");
}

#[test]
fn long_runs_cost_one_chunk() {
    let mut out = [0; 4_096];
    let mut writer = RtcpWriter::new(&mut out);
    writer.twcc((ME, PEER), Seq(0), 0, 0, &[None; 8_000]).expect("fits");
    assert_eq!(writer.bytes(), 12 + 8 + 2 + 2);
}

#[test]
fn mutated_compounds_never_panic() {
    let mut rng = Rng::new(6);
    let mut original = [0; 1_200];
    let bytes = compound(&mut original);
    for _ in 0..50_000 {
        let mut datagram = original[..bytes].to_vec();
        for _ in 0..=rng.below(6) {
            let at = rng.below(bytes as u64) as usize;
            datagram[at] = rng.next_u64() as u8;
        }
        datagram.truncate(rng.below(bytes as u64 + 1) as usize);
        let _ = collect(&datagram);
    }
}
