//! What a subscriber said about one track (`UpdateTrackSettings`), and what that means for the packet plane.
//!
//! Promises: whatever a client sends becomes a bounded value. Not here: who is subscribed at all, and which codec is sent.

use dataplane::command::Wanted;
use livekit_protocol as proto;

/// Longest side taken seriously, pixels: 16K.
const SIDE_MAX: u32 = 16_384;
/// The tile of priority [`Wanted::ORDINARY`], square pixels (160x90); each four times larger one comes a step before it.
const TILE_AREA: u32 = 160 * 90;
/// Highest priority that a size alone gives.
const SIZE_PRIORITY_MAX: u8 = 7;

/// The last settings of one subscriber for one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    enabled: bool,
    /// Where the video is shown, pixels; 0 if the client did not say.
    width: u32,
    height: u32,
    /// The quality it named, for clients that say no size: 0 to 2, or anything above for the best.
    quality: u8,
    /// Frames per second that are enough; 0 is all.
    fps: u8,
    /// As in the protocol: 1 is the highest, 0 is unset.
    priority: u8,
}

impl Settings {
    /// Reads a client's message.
    #[must_use]
    pub fn read(message: &proto::UpdateTrackSettings) -> Self {
        let byte = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        Self {
            enabled: !message.disabled,
            width: message.width.min(SIDE_MAX),
            height: message.height.min(SIDE_MAX),
            quality: match proto::VideoQuality::try_from(message.quality) {
                Ok(proto::VideoQuality::Low) => 0,
                Ok(proto::VideoQuality::Medium) => 1,
                _ => u8::MAX,
            },
            fps: byte(message.fps),
            priority: byte(message.priority),
        }
    }

    /// What counts until a client says something: all of the track.
    #[must_use]
    pub const fn unsaid() -> Self {
        Self { enabled: true, width: 0, height: 0, quality: u8::MAX, fps: 0, priority: 0 }
    }

    /// The same, with the track paused.
    #[must_use]
    pub const fn paused(self) -> Self {
        Self { enabled: false, ..self }
    }

    /// What is wanted of an audio track.
    #[must_use]
    pub const fn of_audio(&self) -> Wanted {
        Wanted { enabled: self.enabled, ..Wanted::ALL }
    }

    /// What is wanted of a video track whose announced layers have these sizes, smallest first.
    #[must_use]
    pub fn of_video(&self, sizes: &[(u32, u32)]) -> Wanted {
        Wanted {
            enabled: self.enabled,
            layer_max: self.layer_max(sizes),
            fps_max: self.fps,
            priority: self.importance(),
        }
    }

    /// The smallest layer that covers the size shown; the best if none does or nothing is known.
    fn layer_max(&self, sizes: &[(u32, u32)]) -> u8 {
        if self.width == 0 && self.height == 0 {
            return if self.quality > 1 { Wanted::ALL.layer_max } else { self.quality };
        }
        sizes
            .iter()
            .position(|(width, height)| *width >= self.width && *height >= self.height)
            .filter(|index| index + 1 < sizes.len())
            .and_then(|index| u8::try_from(index).ok())
            .unwrap_or(Wanted::ALL.layer_max)
    }

    /// A priority the client states comes before every one that a size gives. A size gives a step for each factor of four in
    /// area: tiles of one grid are alike, and a pinned one comes before the strip beside it.
    fn importance(&self) -> u8 {
        if self.priority > 0 {
            return u8::MAX - (self.priority - 1).min(u8::MAX / 2);
        }
        let step = (self.width * self.height / TILE_AREA).checked_ilog(4).unwrap_or(0);
        u8::try_from(step).unwrap_or(SIZE_PRIORITY_MAX).min(SIZE_PRIORITY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [(u32, u32); 3] = [(320, 180), (640, 360), (1280, 720)];

    fn wanted(message: &proto::UpdateTrackSettings) -> Wanted {
        Settings::read(message).of_video(&SIZES)
    }

    fn sized(width: u32, height: u32) -> Wanted {
        wanted(&proto::UpdateTrackSettings { width, height, ..Default::default() })
    }

    #[test]
    fn the_layer_wanted_is_the_smallest_that_covers_the_tile() {
        assert_eq!(sized(100, 50).layer_max, 0);
        assert_eq!(sized(320, 180).layer_max, 0);
        assert_eq!(sized(321, 180).layer_max, 1);
        assert_eq!(sized(320, 181).layer_max, 1);
        assert_eq!(sized(0, 300).layer_max, 1);
        assert_eq!(sized(1280, 720).layer_max, u8::MAX, "the top layer is no bound");
        assert_eq!(sized(u32::MAX, u32::MAX).layer_max, u8::MAX);
        let small = Settings::read(&proto::UpdateTrackSettings { width: 9, height: 9, ..Default::default() });
        assert_eq!(small.of_video(&[(1280, 720)]).layer_max, u8::MAX, "a single layer is all there is");
        assert_eq!(small.of_video(&[]).layer_max, u8::MAX);
    }

    #[test]
    fn a_named_quality_counts_when_no_size_is_said() {
        let named = |quality: proto::VideoQuality| {
            wanted(&proto::UpdateTrackSettings { quality: quality.into(), ..Default::default() }).layer_max
        };
        assert_eq!(named(proto::VideoQuality::Low), 0);
        assert_eq!(named(proto::VideoQuality::Medium), 1);
        assert_eq!(named(proto::VideoQuality::High), u8::MAX);
        assert_eq!(
            wanted(&proto::UpdateTrackSettings { quality: 77, ..Default::default() }).layer_max,
            u8::MAX
        );
    }

    #[test]
    fn what_a_client_sends_is_bounded() {
        let all = proto::UpdateTrackSettings {
            width: u32::MAX,
            height: u32::MAX,
            fps: u32::MAX,
            priority: u32::MAX,
            disabled: true,
            ..Default::default()
        };
        let bounded = Wanted { enabled: false, layer_max: u8::MAX, fps_max: u8::MAX, priority: 128 };
        assert_eq!(wanted(&all), bounded);
        assert_eq!(sized(u32::MAX, u32::MAX).priority, SIZE_PRIORITY_MAX);
    }

    #[test]
    fn a_pinned_tile_comes_before_the_strip_and_a_stated_priority_before_both() {
        assert_eq!(sized(160, 90).priority, Wanted::ORDINARY);
        assert!(sized(1100, 620).priority > sized(200, 112).priority);
        assert_eq!(sized(400, 225).priority, sized(396, 223).priority, "tiles of one grid are alike");
        let stated =
            |priority| wanted(&proto::UpdateTrackSettings { priority, ..Default::default() }).priority;
        assert!(stated(1) > stated(2) && stated(2) > stated(100));
        assert!(stated(u32::MAX) > sized(7680, 4320).priority);
    }
}
