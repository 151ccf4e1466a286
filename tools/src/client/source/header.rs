//! The RTP header of one packet with the extensions that were negotiated.

use dataplane::base::ids::{Mid, Rid, Seq};
use dataplane::base::media::{Extension, ExtensionMap};
use dataplane::base::time::Micros;
use dataplane::wire::ext::{AbsSendTime, AudioLevel, Element, transport_cc_value};
use dataplane::wire::rtp::{self, HeaderFields};

/// Values of the header extensions of one packet.
pub(super) struct Values<'v> {
    pub(super) mid: Option<Mid>,
    pub(super) rid: Option<Rid>,
    pub(super) retransmission: bool,
    pub(super) level: Option<AudioLevel>,
    pub(super) transport_cc: Option<Seq>,
    /// The dependency descriptor.
    pub(super) dependency: Option<&'v [u8]>,
    /// When the packet leaves.
    pub(super) sent: Micros,
}

impl Values<'_> {
    /// Answers the header's bytes; `None` when `out` is too small.
    pub(super) fn write(&self, map: &ExtensionMap, fields: &HeaderFields, out: &mut [u8]) -> Option<usize> {
        let level = self.level.map(AudioLevel::to_value);
        let transport_cc = self.transport_cc.map(transport_cc_value);
        let abs_send_time = AbsSendTime::at(self.sent).to_value();
        let rid = if self.retransmission { Extension::RepairedRid } else { Extension::Rid };
        let candidates = [
            (Extension::Mid, self.mid.as_ref().map(|mid| mid.as_bytes())),
            (rid, self.rid.as_ref().map(|rid| rid.as_bytes())),
            (Extension::AudioLevel, level.as_ref().map(|value| &value[..])),
            (Extension::TransportCc, transport_cc.as_ref().map(|value| &value[..])),
            (Extension::AbsSendTime, Some(&abs_send_time[..])),
            (Extension::DependencyDescriptor, self.dependency),
        ];
        let mut elements = [Element { id: 0, value: &[] }; 6];
        let mut count = 0;
        for (extension, value) in candidates {
            if let (Some(id), Some(value)) = (map.id(extension), value) {
                elements[count] = Element { id, value };
                count += 1;
            }
        }
        rtp::write_header(fields, &elements[..count], out).ok()
    }
}
