//! A queued packet leaves: its header is written for its receiver, its number is taken, and what was sent is counted.
//!
//! Place: `flush` calls [`Rooms::prepare`], seals into a send buffer, and calls [`Rooms::commit`] only if a buffer was there; so a
//! full backend loses nothing and leaves no gap. What is usual goes the short way ([`super::usual`]), with the same bytes.

use super::queue::{Held, Item, Role};
use super::rewrite::{Fields, Offsets, Placed};
use super::stream::Stream;
use super::template::{Sent, red_primary};
use super::track::{CachedMeta, clock_hz};
use super::{Member, Rooms, Turn};
use crate::base::drops::DropReason;
use crate::base::ids::{PayloadType, Ssrc};
use crate::base::limits::DATAGRAM_BYTES_MAX;
use crate::base::media::Format;
use crate::base::time::Micros;
use crate::command::Report;
use crate::session::srtp::RTP_OVERHEAD_BYTES;
use crate::wire::rtp::{HEADER_BYTES_MAX, RtpHeader};
use crate::wire::vp8::{DESCRIPTOR_BYTES_MAX, Moved};

/// A packet without extensions and with the least payload, for headers that repeat nothing.
const EMPTY_PACKET: [u8; 12] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The last byte of padding is its length.
const PADDING: [u8; 224] = {
    let mut bytes = [0; 224];
    bytes[223] = 224;
    bytes
};

/// Original sequence number and VP8 descriptor.
const PREFIX_BYTES_MAX: usize = 2 + DESCRIPTOR_BYTES_MAX;

/// Where a packet's own parts are written, one packet after the other.
pub struct Scratch {
    header: [u8; HEADER_BYTES_MAX],
    prefix: [u8; PREFIX_BYTES_MAX],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { header: [0; HEADER_BYTES_MAX], prefix: [0; PREFIX_BYTES_MAX] }
    }
}

/// A packet ready to be sealed.
pub struct Prepared<'a> {
    header: &'a [u8],
    prefix: &'a [u8],
    body: &'a [u8],
    /// What to commit.
    pub taken: Taken,
}

/// What [`Rooms::commit`] needs to know of a packet that left.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// SSRC it is sealed under.
    pub ssrc: Ssrc,
    /// Roll-over counter and sequence number it is sealed under.
    pub index: u64,
    fields: Fields,
    placed: Placed,
    role: Role,
    on_rtx: bool,
    transport: bool,
    payload_bytes: usize,
}

impl Prepared<'_> {
    /// The header.
    #[must_use]
    pub const fn header(&self) -> &[u8] {
        self.header
    }

    /// The payload: a part of this receiver's own, then the shared part.
    #[must_use]
    pub const fn payload(&self) -> [&[u8]; 2] {
        [self.prefix, self.body]
    }

    /// Bytes before sealing.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.header.len() + self.prefix.len() + self.body.len()
    }
}

impl Rooms {
    /// Writes an item's header into `scratch` and finds its payload. Changes nothing else.
    ///
    /// # Errors
    /// Why the item is not to be sent: `TooLate`, `NotCached`, `CodecNotNegotiated`, `TooLong`; `NoSubscriber` when its stream is gone.
    pub fn prepare<'a>(
        &'a self,
        now: Micros,
        item: &Item,
        scratch: &'a mut Scratch,
    ) -> Result<Prepared<'a>, DropReason> {
        let stream = self.streams.get(item.stream).ok_or(DropReason::NoSubscriber)?;
        let track = self.tracks.get(stream.track).ok_or(DropReason::NoSubscriber)?;
        let member = self.member(stream.member).ok_or(DropReason::NoSubscriber)?;
        if item.held == Held::Nothing {
            return prepare_padding(now, stream, member, scratch);
        }
        let layer = track.layers.get(usize::from(item.layer)).ok_or(DropReason::NoSubscriber)?;
        let (packet, header, meta) = match item.held {
            Held::Pooled(slot) => {
                let packet = self.pool.packet(slot);
                (packet, RtpHeader::parse(packet)?, CachedMeta::default())
            }
            Held::Nothing => return Err(DropReason::NotCached),
            Held::Cached => {
                let video = layer.video.as_ref().ok_or(DropReason::NotCached)?;
                let (packet, meta) = video.cache.find(item.content).ok_or(DropReason::NotCached)?;
                (packet, meta.header.ok_or(DropReason::NotCached)?, *meta)
            }
        };
        let format = track.format(header.pt).ok_or(DropReason::UnknownPayloadType)?;
        let mapped = stream.template.format(header.pt).ok_or(DropReason::CodecNotNegotiated)?;
        let mut body = packet.get(header.payload()).ok_or(DropReason::Malformed)?;
        if mapped.primary_only {
            body = red_primary(body).ok_or(DropReason::Malformed)?;
        }
        let fields = Fields {
            layer: item.layer,
            epoch: layer.epoch_of(item.content),
            content: item.content,
            timestamp: header.timestamp,
            picture: meta.picture,
            tl0: meta.vp8.and_then(|vp8| vp8.tl0_index),
            key_index: meta.vp8.and_then(|vp8| vp8.layer?.key_index),
        };
        let placed = match item.role {
            Role::Media | Role::Resend | Role::Vacant | Role::Padding => {
                stream.rewrite.place(&fields).ok_or(DropReason::TooLate)?
            }
            Role::RunStart | Role::KeyStart => {
                let aligned = stream.rewrite.clock().and_then(|(old, _, offset)| {
                    Some(track.aligned(old, item.layer, header.timestamp)?.wrapping_add(offset))
                });
                stream
                    .rewrite
                    .place_start(now, clock_hz(track.kind), &fields, aligned)
                    .ok_or(DropReason::TooLate)?
            }
        };
        let Scratch { header: header_out, prefix } = scratch;
        let mut prefix_bytes = 0;
        let rtx = match item.role {
            Role::Resend | Role::Vacant | Role::Padding => stream.retransmission().zip(mapped.rtx),
            Role::Media | Role::RunStart | Role::KeyStart => None,
        };
        let (ssrc, index, pt) = match rtx {
            Some(((ssrc, index), pt)) => {
                prefix[..2].copy_from_slice(&placed.seq().0.to_be_bytes());
                prefix_bytes = 2;
                (ssrc, index, pt)
            }
            None if matches!(item.role, Role::Padding | Role::Vacant) => return Err(DropReason::NotCached),
            None if item.role == Role::Resend && stream.header_changed => return Err(DropReason::NotCached),
            None => (stream.ssrc, placed.index(), mapped.pt),
        };
        if item.role == Role::Vacant {
            body = &[];
        } else if let Some(vp8) = &meta.vp8 {
            let Offsets { picture, tl0, key_index, .. } = placed.offsets;
            let by = Moved { picture, tl0, key_index };
            let out = prefix.get_mut(prefix_bytes..).and_then(|rest| rest.first_chunk_mut());
            let own = vp8.write_moved(body, &by, out.ok_or(DropReason::Malformed)?);
            let own = own.map_err(|_| DropReason::Malformed)?;
            prefix_bytes += own;
            body = body.get(own..).ok_or(DropReason::Malformed)?;
        }
        let sent = Sent {
            ssrc,
            seq: crate::base::ids::Seq(index as u16),
            timestamp: header.timestamp.wrapping_add(placed.offsets.timestamp),
            pt,
            // The picture ends with the highest spatial layer that this receiver gets.
            is_padding: false,
            ends_picture: track.is_scalable && meta.marks.ends && meta.marks.spatial == placed.spatial,
            now,
            transport_seq: member.transport_seq,
            with_mid: stream.unconfirmed,
            repeatable: is_repeatable(format, mapped.rtx, stream.rtx),
        };
        let header_bytes =
            stream.template.write(&header, packet, &sent, header_out).map_err(|_| DropReason::TooLong)?;
        let prepared = Prepared {
            header: header_out.get(..header_bytes).ok_or(DropReason::TooLong)?,
            prefix: prefix.get(..prefix_bytes).ok_or(DropReason::TooLong)?,
            body,
            taken: Taken {
                ssrc,
                index,
                fields,
                placed,
                role: item.role,
                on_rtx: rtx.is_some(),
                transport: stream.template.has_transport_cc() && !sent.repeatable,
                payload_bytes: prefix_bytes + body.len(),
            },
        };
        if prepared.bytes() + RTP_OVERHEAD_BYTES > DATAGRAM_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        Ok(prepared)
    }

    /// An item could not be sent. When it was to begin a run, the packets behind it have nothing to follow: the stream is where it
    /// was before, and begins with the next packet that it can begin with. When it waited until its packet was forgotten, its stream
    /// begins anew at a keyframe, as if it had waited too long.
    pub fn give_up(&mut self, item: &Item, reason: DropReason) {
        if matches!(item.role, Role::Resend | Role::Vacant | Role::Padding) {
            return;
        }
        if reason == DropReason::NotCached {
            self.begin_anew(item.stream);
        } else if item.role.starts_run()
            && let Some(stream) = self.streams.get_mut(item.stream)
        {
            stream.current = None;
        }
    }

    /// A send buffer took the packet, as a datagram of `bytes`.
    pub fn commit(&mut self, turn: &mut Turn<'_>, item: &Item, taken: &Taken, bytes: usize) {
        let Some(stream) = self.take_numbers(turn.now, item, taken, bytes) else { return };
        match taken.role {
            Role::Media | Role::RunStart | Role::KeyStart => {}
            Role::Resend | Role::Vacant => {
                turn.counters.packets_retransmitted += 1;
                return;
            }
            Role::Padding => {
                turn.counters.packets_padding += 1;
                return;
            }
        }
        if stream.stats.packets() == 0 {
            turn.reports.state(Report::StreamStarted { stream: stream.id });
        }
        let timestamp = taken.fields.timestamp.wrapping_add(taken.placed.offsets.timestamp);
        stream.stats.handle_sent(turn.now, timestamp, taken.payload_bytes);
        turn.counters.packets_forwarded += 1;
        turn.counters.bytes_forwarded += bytes as u64;
        turn.counters.delay(turn.now.since_us(item.received));
    }
}

impl Rooms {
    /// The connection of its receiver dropped the packet, which would have been a datagram of `bytes`. As on any network its numbers
    /// are used up: what follows leaves a gap, the receiver asks again, and the link is seen to lose.
    pub fn lose(&mut self, now: Micros, item: &Item, taken: &Taken, bytes: usize) {
        self.take_numbers(now, item, taken, bytes);
    }

    /// No number of the packet is ever given to another; answers its stream.
    fn take_numbers(&mut self, now: Micros, item: &Item, taken: &Taken, bytes: usize) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(item.stream)?;
        if let Some(member) = self.members.get_mut(stream.member).and_then(Option::as_mut) {
            member.link.handle_sent(now, taken.transport.then_some(member.transport_seq), bytes);
            if taken.transport {
                member.transport_seq = member.transport_seq.plus(1);
            }
        }
        if taken.on_rtx {
            stream.rtx_index += 1;
        }
        if matches!(taken.role, Role::Media | Role::RunStart | Role::KeyStart) {
            stream.rewrite.commit(now, &taken.fields, &taken.placed);
            if taken.role == Role::KeyStart {
                stream.stale = false;
            }
        }
        Some(stream)
    }
}

/// A packet of the retransmission stream that is all padding (RFC 3550 section 5.1): receivers count it and throw it away.
fn prepare_padding<'a>(
    now: Micros,
    stream: &Stream,
    member: &Member,
    scratch: &'a mut Scratch,
) -> Result<Prepared<'a>, DropReason> {
    let (ssrc, index) = stream.retransmission().ok_or(DropReason::NotCached)?;
    let pt = stream.template.rtx().ok_or(DropReason::CodecNotNegotiated)?;
    let header = RtpHeader::parse(&EMPTY_PACKET)?;
    let sent = Sent {
        ssrc,
        seq: crate::base::ids::Seq(index as u16),
        timestamp: stream.rewrite.timestamp_last(),
        pt,
        ends_picture: false,
        is_padding: true,
        now,
        transport_seq: member.transport_seq,
        with_mid: stream.unconfirmed,
        repeatable: false,
    };
    let fields =
        Fields { layer: 0, epoch: 0, content: 0, timestamp: 0, picture: None, tl0: None, key_index: None };
    let header_bytes = stream
        .template
        .write(&header, &EMPTY_PACKET, &sent, &mut scratch.header)
        .map_err(|_| DropReason::TooLong)?;
    Ok(Prepared {
        header: scratch.header.get(..header_bytes).ok_or(DropReason::TooLong)?,
        prefix: &[],
        body: &PADDING,
        taken: Taken {
            ssrc,
            index,
            fields,
            placed: Placed::default(),
            role: Role::Padding,
            on_rtx: true,
            transport: stream.template.has_transport_cc(),
            payload_bytes: PADDING.len(),
        },
    })
}

/// Whether a packet may have to be sent once more under its own sequence number: the receiver asks with NACK and has no stream for
/// retransmissions. Then its header must read the same both times, because one SRTP index must never protect two contents.
pub(super) fn is_repeatable(format: &Format, rtx_pt: Option<PayloadType>, rtx: Option<Ssrc>) -> bool {
    format.nack && (rtx_pt.is_none() || rtx.is_none())
}
