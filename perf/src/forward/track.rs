//! The track a publisher sends.

use tools::client::Client;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::source::{AudioConfig, Encoding, TrackConfig, VideoConfig};

use dataplane::base::time::Micros;

use super::options::{Kind, Options};
use super::server::{Place, Sends};

/// Starts a publisher's track; publishers are shifted so that their frames spread over the interval.
pub fn publish(options: &Options, place: Place, sends: &Sends, client: &mut Client, now: Micros) {
    let interval_us = options.frame_interval_us();
    let publishers = u64::from(options.meetings * options.publishers);
    let track = TrackConfig {
        track: place.local,
        mid: sends.mid,
        pt: sends.pt,
        rtx_pt: sends.rtx.map(|(_, pt)| pt),
        extensions: sends.extensions,
        phase_us: interval_us * u64::from(place.number) / publishers,
        frames_max: Some(options.frames()),
    };
    let payload_bytes = usize::from(options.payload);
    let ssrc = sends.ssrc;
    match options.kind {
        Kind::Audio => {
            let audio = AudioConfig { track, ssrc, payload_bytes, level: 30, red_pt: None, nack: false };
            client.publish_audio(now, audio);
        }
        Kind::Video => {
            let frame_bytes = payload_bytes * options.burst as usize;
            let encoding = Encoding {
                ssrc,
                rtx: sends.rtx.map(|(ssrc, _)| ssrc),
                rid: None,
                frame_bytes,
                // As large as any frame, so that keyframe requests do not change what is sent.
                keyframe_bytes: frame_bytes,
            };
            let video = VideoConfig {
                track,
                codec: VideoCodec::Vp8,
                scalability: Scalability::L1T1,
                encodings: vec![encoding],
                size: (640, 360),
                ramp_us: 0,
                frame_interval_us: interval_us,
                payload_bytes_max: payload_bytes,
                size_jitter_percent: 0,
            };
            client.publish_video(now, video);
        }
    }
}
