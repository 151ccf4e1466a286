//! The short way out, for packets that are as most are: the next of their run, from a layer's cache, with no extension to copy, to a
//! receiver that has reported and is not being probed.
//!
//! Place: `flush` asks for an [`Outlet`] when video waits for a peer, and sends through it as long as it takes; everything else goes by
//! way of `release`, which would write the same bytes and count the same (`engine::tests::chaos` plays both and compares them).
//! Cost: what is the same for packets of a stream that leave together (entries of tables, format, send time) is looked up once for
//! all of them.

use super::budget::ReceiverLink;
use super::queue::{Held, Item, Role, SendQueue};
use super::release::is_repeatable;
use super::rewrite::{Ahead, Fields, Offsets};
use super::stream::Stream;
use super::template::{Own, USUAL_BYTES_MAX, UsualHeader};
use super::track::CachedMeta;
use super::{Member, Rooms};
use crate::base::counters::Counters;
use crate::base::ids::{PayloadType, Seq, Ssrc};
use crate::base::limits::{DATAGRAM_BYTES_MAX, PACED_US_MAX};
use crate::base::time::Micros;
use crate::session::rtx_cache::RtxCache;
use crate::session::srtp::RTP_OVERHEAD_BYTES;
use crate::wire::rtp::RtpHeader;
use crate::wire::vp8::{DESCRIPTOR_BYTES_MAX, Moved};

/// One stream while packets of it leave that came together. What left is noted by [`Outlet::settle`].
pub struct Outlet<'a> {
    now: Micros,
    stream: &'a mut Stream,
    link: &'a mut ReceiverLink,
    cache: &'a RtxCache<CachedMeta>,
    header: UsualHeader,
    ahead: Ahead,
    /// Payload types of the publisher and of the receiver.
    from: PayloadType,
    to: PayloadType,
    has_transport_seq: bool,
    transport_seq: &'a mut Seq,
    received: Micros,
    sent: Sent,
}

/// What left.
struct Sent {
    packets: u32,
    bytes: u64,
    payload_bytes: usize,
    /// Of the last one.
    index: u64,
    fields: Fields,
}

/// A packet that can leave the short way.
pub struct Usual<'a> {
    /// Roll-over counter and sequence number it is sealed under.
    pub index: u64,
    content: u64,
    header: &'a RtpHeader,
    meta: &'a CachedMeta,
    body: &'a [u8],
    descriptor: [u8; DESCRIPTOR_BYTES_MAX],
    descriptor_bytes: u8,
}

impl Usual<'_> {
    /// The payload: a part of this receiver's own, then the shared part.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> [&[u8]; 2] {
        [self.descriptor.get(..usize::from(self.descriptor_bytes)).unwrap_or(&[]), self.body]
    }

    #[inline]
    const fn payload_bytes(&self) -> usize {
        self.descriptor_bytes as usize + self.body.len()
    }
}

impl Rooms {
    /// Where the packets that wait first for the peer at `index`, of which `item` is the first, leave, and the queue they are in; `None`
    /// when they are not usual.
    pub fn outlet(&mut self, now: Micros, index: usize, item: &Item) -> Option<(Outlet<'_>, &mut SendQueue)> {
        if item.role != Role::Media || item.held != Held::Cached || now.since_us(item.received) > PACED_US_MAX
        {
            return None;
        }
        let stream = self.streams.get_mut(item.stream)?;
        // Of a first packet the control plane is told.
        if stream.stale || stream.stats.packets() == 0 || stream.unconfirmed && stream.template.has_mid() {
            return None;
        }
        let track = self.tracks.get(stream.track).filter(|track| !track.is_scalable)?;
        let Member { link, transport_seq, .. } = self.members.get_mut(index)?.as_mut()?;
        if !link.begin_usual_turn(now) {
            return None;
        }
        let layer = track.layers.get(usize::from(item.layer))?;
        let cache = &layer.video.as_ref()?.cache;
        let from = cache.find(item.content)?.1.header?.pt;
        let mapped = stream.template.format(from).filter(|mapped| !mapped.primary_only)?;
        if is_repeatable(track.format(from)?, mapped.rtx, stream.rtx) {
            return None;
        }
        let epoch = layer.epoch_of(item.content);
        let fields = Fields {
            layer: item.layer,
            epoch,
            content: item.content,
            timestamp: 0,
            picture: None,
            tl0: None,
            key_index: None,
        };
        let outlet = Outlet {
            now,
            header: stream.template.usual().leaving(stream.ssrc, now),
            ahead: stream.rewrite.ahead(item.layer, epoch)?,
            has_transport_seq: stream.template.has_transport_cc(),
            transport_seq,
            stream,
            link,
            cache,
            from,
            to: mapped.pt,
            received: item.received,
            sent: Sent { packets: 0, bytes: 0, payload_bytes: 0, index: 0, fields },
        };
        Some((outlet, &mut self.queue))
    }
}

impl<'a> Outlet<'a> {
    /// The SSRC of its packets.
    #[inline]
    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        self.stream.ssrc
    }

    /// When the pacer lets the next packet through, if not now.
    #[inline]
    #[must_use]
    pub const fn paced_until(&self) -> Option<Micros> {
        self.link.usually_paced_until(self.now)
    }

    /// Finds a packet and its place. Changes nothing. `None` when it is not usual.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, content: u64) -> Option<Usual<'a>> {
        let (packet, meta) = self.cache.find(content)?;
        let header = meta.header.as_ref()?;
        let payload = packet.get(header.payload())?;
        // A descriptor that is moved stays as long as it is.
        let fits = USUAL_BYTES_MAX + payload.len() + RTP_OVERHEAD_BYTES <= DATAGRAM_BYTES_MAX;
        if header.pt != self.from || meta.passes || !fits {
            return None;
        }
        let index = self.ahead.index(content, meta.picture)?;
        let (mut body, mut descriptor, mut descriptor_bytes) = (payload, [0; DESCRIPTOR_BYTES_MAX], 0);
        if !self.ahead.keeps_vp8
            && let Some(vp8) = &meta.vp8
        {
            let &Offsets { picture, tl0, key_index, .. } = self.ahead.offsets();
            let moved = Moved { picture, tl0, key_index };
            let bytes = vp8.write_moved(payload, &moved, &mut descriptor).ok()?;
            body = payload.get(bytes..)?;
            descriptor_bytes = bytes as u8;
        }
        Some(Usual { index, content, header, meta, body, descriptor, descriptor_bytes })
    }

    /// Bytes of its datagram before sealing.
    #[inline]
    #[must_use]
    pub const fn datagram_bytes(&self, usual: &Usual<'_>) -> usize {
        self.header.length() + usual.payload_bytes()
    }

    /// Writes its header to the front of `out`; answers the header's bytes, 0 if there is no room.
    #[inline]
    pub fn write_header(&self, usual: &Usual<'_>, out: &mut [u8]) -> usize {
        match out.first_chunk_mut() {
            Some(out) => {
                let own = Own {
                    marker: usual.header.marker,
                    pt: self.to,
                    seq: Seq(usual.index as u16),
                    timestamp: usual.header.timestamp.wrapping_add(self.ahead.offsets().timestamp),
                    transport_seq: *self.transport_seq,
                };
                self.header.write(&own, out);
                self.header.length()
            }
            None => 0,
        }
    }

    /// A send buffer took the packet, as a datagram of `bytes`. Packets come in the order of their contents.
    #[inline]
    pub fn note(&mut self, usual: &Usual<'_>, bytes: usize) {
        self.link.handle_usually_sent(self.now, self.has_transport_seq.then_some(*self.transport_seq), bytes);
        *self.transport_seq = self.transport_seq.plus(u16::from(self.has_transport_seq));
        let sent = &mut self.sent;
        let timestamp = usual.header.timestamp;
        if sent.packets == 0 || timestamp != sent.fields.timestamp {
            // All packets of a picture have its numbers.
            self.stream.stats.see(self.now, timestamp.wrapping_add(self.ahead.offsets().timestamp));
            sent.fields.timestamp = timestamp;
            sent.fields.picture = usual.meta.picture.or(sent.fields.picture);
            if let Some(vp8) = &usual.meta.vp8 {
                sent.fields.tl0 = vp8.tl0_index.or(sent.fields.tl0);
                sent.fields.key_index = vp8.layer.and_then(|layer| layer.key_index).or(sent.fields.key_index);
            }
        }
        sent.fields.content = usual.content;
        sent.index = usual.index;
        sent.packets += 1;
        sent.bytes += bytes as u64;
        sent.payload_bytes += usual.payload_bytes();
    }

    /// Nothing more leaves through it: writes down what did, as if each packet had left by itself. Answers how many did.
    pub fn settle(self, counters: &mut Counters) -> u32 {
        let Sent { packets, bytes, payload_bytes, index, fields } = self.sent;
        if packets > 0 {
            self.stream.rewrite.commit(self.now, &fields, &self.ahead.placed(index));
            self.stream.stats.count(packets, payload_bytes);
            counters.packets_forwarded += u64::from(packets);
            counters.bytes_forwarded += bytes;
            counters.delays(self.now.since_us(self.received), packets);
        }
        packets
    }
}
