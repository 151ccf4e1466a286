//! H.264 NAL units of one RTP payload, as far as finding keyframes needs (RFC 6184).
//!
//! Path: read for every received H.264 packet. Reads NAL unit headers only, which end-to-end encryption leaves clear.

use crate::base::drops::DropReason;

const NAL_SLICE_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// What the NAL units of one payload are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct H264Payload {
    /// A sequence parameter set is in it: encoders put one in front of each IDR picture.
    pub sps: bool,
    /// The first bytes of an IDR slice are in it.
    pub idr_start: bool,
    /// It begins a NAL unit (it is not a later fragment).
    pub nal_start: bool,
}

impl H264Payload {
    /// Reads single NAL unit packets, STAP-A and FU-A; other aggregations are not negotiated.
    ///
    /// # Errors
    /// `Truncated` for an empty payload or an FU-A without its header; `Malformed` for a STAP-A whose sizes do not add up
    /// or packet types of the interleaved mode.
    pub fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let (&header, rest) = payload.split_first().ok_or(DropReason::Truncated)?;
        let mut found = Self { nal_start: true, ..Self::default() };
        match header & 0x1f {
            kind @ 1..=23 => found.nal(kind),
            NAL_STAP_A => {
                let mut rest = rest;
                if rest.is_empty() {
                    return Err(DropReason::Truncated);
                }
                while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
                    let bytes = usize::from(u16::from_be_bytes([high, low]));
                    let (unit, after) = after.split_at_checked(bytes).ok_or(DropReason::Malformed)?;
                    found.nal(unit.first().ok_or(DropReason::Malformed)? & 0x1f);
                    rest = after;
                }
                if !rest.is_empty() {
                    return Err(DropReason::Malformed);
                }
            }
            NAL_FU_A => {
                let fragment = *rest.first().ok_or(DropReason::Truncated)?;
                found.nal_start = fragment & 0x80 != 0;
                if found.nal_start {
                    found.nal(fragment & 0x1f);
                }
            }
            _ => return Err(DropReason::Malformed),
        }
        Ok(found)
    }

    const fn nal(&mut self, kind: u8) {
        match kind {
            NAL_SPS => self.sps = true,
            NAL_SLICE_IDR => self.idr_start = true,
            _ => {}
        }
    }

    /// Whether a receiver can start here: at the parameter sets, or at an IDR slice whose parameter sets came before.
    #[must_use]
    pub const fn is_keyframe_start(&self) -> bool {
        self.sps || self.idr_start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const STAP_A: [u8; 13] = [0x78, 0, 4, 0x67, 0x42, 0xe0, 0x1f, 0, 2, 0x68, 0xce, 0, 0];

    #[test]
    fn parameter_sets_and_idr_slices_begin_keyframes() {
        let stap = H264Payload::parse(&STAP_A[..11]).expect("valid");
        assert!(stap.sps && !stap.idr_start && stap.is_keyframe_start());
        for payload in [&[0x65, 1, 2][..], &[0x67, 0x42], &[0x7c, 0x85, 1]] {
            let found = H264Payload::parse(payload).expect("valid");
            assert!(found.is_keyframe_start() && found.nal_start, "{payload:x?}");
        }
    }

    #[test]
    fn delta_slices_and_later_fragments_begin_none() {
        for payload in [&[0x41, 1, 2][..], &[0x68, 0xce], &[0x7c, 0x05, 1], &[0x7c, 0x45, 1], &[0x7c, 0x81]] {
            assert!(!H264Payload::parse(payload).expect("valid").is_keyframe_start(), "{payload:x?}");
        }
        assert!(!H264Payload::parse(&[0x7c, 0x05, 1]).expect("valid").nal_start);
    }

    #[test]
    fn payloads_that_contradict_themselves_are_refused() {
        assert_eq!(H264Payload::parse(&[]), Err(DropReason::Truncated));
        assert_eq!(H264Payload::parse(&[0x7c]), Err(DropReason::Truncated));
        for bad in [&STAP_A[..], &STAP_A[..12], &[0x78, 0, 0], &[0x60, 1], &[0x79, 1], &[0x7f, 1]] {
            assert_eq!(H264Payload::parse(bad), Err(DropReason::Malformed), "{bad:x?}");
        }
        for length in 0..11 {
            assert_eq!(H264Payload::parse(&STAP_A[..length]).is_ok(), length == 7, "cut at {length}");
        }
    }

    #[test]
    fn random_payloads_never_panic() {
        let mut rng = Rng::new(10);
        for _ in 0..50_000 {
            let mut payload: Vec<u8> = (0..rng.below(30)).map(|_| rng.next_u64() as u8).collect();
            if rng.chance_ppm(500_000)
                && let [first, second, ..] = &mut payload[..]
            {
                (*first, *second) = (NAL_STAP_A, 0);
            }
            let _ = H264Payload::parse(&payload);
        }
    }
}
