//! One synthetic participant: the LiveKit protocol v0 with its two associations, or v1 with one, sans-IO.
//!
//! Path: `drive` hands in signalling messages and datagrams and sends what comes out. Promises: what the server announces is
//! answered at once and in order; a stream is expected before its first packet can come. Not here: reconnecting (a load
//! generator wants to see a lost connection as one).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use controlplane::sdp::description::Description;
use dataplane::base::handoff::{DtlsVersion, Fingerprint};
use dataplane::base::ids::Ssrc;
use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::IceCredentials;
use kernels::Suite;
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;

use super::description::{self, Local, Offered};
use super::single::Single;
use crate::client::codec::VideoCodec;
use crate::client::codec::scalability::Scalability;
use crate::client::dtls::Identity;
use crate::client::source::{AudioConfig, Encoding, TrackConfig, VideoConfig};
use crate::client::{Client, ClientConfig, ClientState, Remote, Security};

/// The number stamped into audio and video payloads.
pub const AUDIO_TRACK: u32 = 0;
/// See [`AUDIO_TRACK`].
pub const VIDEO_TRACK: u32 = 1;
/// The server's interval is used when it names one.
const PING_INTERVAL_US: u64 = 5_000_000;

/// Video that a participant publishes.
#[derive(Clone, Copy, Debug)]
pub struct Video {
    /// Frames per second.
    pub fps: u32,
    /// Bits per second, keyframes apart.
    pub bitrate_bps: u32,
}

/// What a participant is and does.
#[derive(Clone)]
pub struct ParticipantConfig {
    /// Stamped into payloads, and what is expected in others': the same for everybody in a meeting, different elsewhere.
    pub room: u64,
    /// Stamped into payloads; different for everybody in a meeting.
    pub number: u32,
    /// Publishes audio.
    pub audio: bool,
    /// Publishes video.
    pub video: Option<Video>,
    /// One association for both directions (protocol v1).
    pub single: bool,
    /// Certificate of its associations.
    pub identity: Identity,
    /// Seed of everything random that is no secret.
    pub seed: u64,
}

/// One association of a participant.
pub struct Leg {
    /// The client.
    pub client: Client,
    /// Where the server says it listens; empty until it says so.
    pub candidates: Vec<SocketAddr>,
    session: u64,
    version: u64,
}

/// What happened in signalling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SignallingStatistics {
    /// Offers of the server that were answered.
    pub offers: u64,
    /// Times the list of speakers changed.
    pub speaker_updates: u64,
    /// Messages that made no sense.
    pub malformed: u64,
}

/// Why the server ended it, or why it could not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParticipantEnd {
    /// The server said leave, with this LiveKit reason.
    Left(i32),
    /// A description could not be read or used.
    Description,
    /// The answer rejects a published track.
    Rejected,
}

/// See the module.
pub struct Participant {
    config: ParticipantConfig,
    publisher: Leg,
    subscriber: Leg,
    requests: VecDeque<Request>,
    /// Publications the server has yet to confirm.
    unconfirmed: usize,
    /// What it offers to receive in, with protocol v1.
    single: Option<Single>,
    /// Its participant id, once it has joined.
    sid: String,
    /// Who else is there as last told, by participant id.
    others: BTreeMap<String, proto::ParticipantInfo>,
    /// SSRCs of the streams it receives.
    streams: Vec<Ssrc>,
    next_ping: Micros,
    ping_interval_us: u64,
    ssrcs: [u32; 3],
    end: Option<ParticipantEnd>,
    statistics: SignallingStatistics,
}

impl Participant {
    /// A participant whose WebSocket is about to open.
    #[must_use]
    pub fn new(config: ParticipantConfig) -> Self {
        let mut rng = Rng::new(config.seed);
        let ssrcs = [rng.next_u64() as u32 | 1, rng.next_u64() as u32 | 1, rng.next_u64() as u32 | 1];
        let publisher = Leg::new(&config, &mut rng);
        let subscriber = Leg::new(&config, &mut rng);
        let single = config.single.then(Single::default);
        Self {
            config,
            publisher,
            subscriber,
            requests: VecDeque::new(),
            unconfirmed: 0,
            single,
            sid: String::new(),
            others: BTreeMap::new(),
            streams: Vec::new(),
            next_ping: Micros::NEVER,
            ping_interval_us: PING_INTERVAL_US,
            ssrcs,
            end: None,
            statistics: SignallingStatistics::default(),
        }
    }

    /// Whether it publishes anything.
    #[must_use]
    pub const fn publishes(&self) -> bool {
        self.config.audio || self.config.video.is_some()
    }

    /// The number stamped into its payloads.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.config.number
    }

    /// The association it sends with.
    #[must_use]
    pub const fn publisher(&self) -> &Leg {
        &self.publisher
    }

    /// The association it receives with; with protocol v1 the one it sends with.
    #[must_use]
    pub const fn subscriber(&self) -> &Leg {
        if self.config.single { &self.publisher } else { &self.subscriber }
    }

    /// Its participant id; empty before it has joined.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Who else is there, as last told.
    pub fn others(&self) -> impl Iterator<Item = &proto::ParticipantInfo> {
        self.others.values()
    }

    /// Both associations, the publisher first; the second is not used with protocol v1.
    pub const fn legs_mut(&mut self) -> [&mut Leg; 2] {
        [&mut self.publisher, &mut self.subscriber]
    }

    /// Why it is over, if it is.
    #[must_use]
    pub const fn end(&self) -> Option<ParticipantEnd> {
        self.end
    }

    /// What happened in signalling.
    #[must_use]
    pub const fn statistics(&self) -> &SignallingStatistics {
        &self.statistics
    }

    /// Whether everything it needs for media stands.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let ready = |leg: &Leg| leg.client.state() == ClientState::Ready;
        ready(self.subscriber()) && (!self.publishes() || ready(&self.publisher))
    }

    /// When media could flow both ways.
    #[must_use]
    pub fn ready_at(&self) -> Option<Micros> {
        let subscriber = self.subscriber().client.statistics().ready?;
        if !self.publishes() {
            return Some(subscriber);
        }
        Some(subscriber.max(self.publisher.client.statistics().ready?))
    }

    /// The next message for the server.
    pub fn poll_request(&mut self) -> Option<proto::SignalRequest> {
        let message = self.requests.pop_front()?;
        Some(proto::SignalRequest { message: Some(message) })
    }

    /// Says goodbye; the last message is left for [`Self::poll_request`].
    pub fn leave(&mut self) {
        self.requests.push_back(Request::Leave(proto::LeaveRequest::default()));
        self.publisher.client.close();
        self.subscriber.client.close();
    }

    /// Pings when it is time.
    pub fn handle_timeout(&mut self, now: Micros) {
        if now >= self.next_ping {
            self.next_ping = now.after_us(self.ping_interval_us);
            let ping = proto::Ping { timestamp: (now.0 / 1_000) as i64, rtt: 0 };
            self.requests.push_back(Request::PingReq(ping));
        }
    }

    /// When [`Self::handle_timeout`] is next due. The clients have their own times.
    #[must_use]
    pub const fn next_timeout(&self) -> Micros {
        self.next_ping
    }

    /// Takes one message of the server.
    pub fn handle_response(&mut self, now: Micros, response: proto::SignalResponse) {
        let Some(message) = response.message else {
            self.statistics.malformed += 1;
            return;
        };
        match message {
            Response::Join(join) => {
                if join.ping_interval > 0 {
                    self.ping_interval_us = u64::from(join.ping_interval.unsigned_abs()) * 1_000_000;
                }
                self.next_ping = now.after_us(self.ping_interval_us);
                self.sid = join.participant.map(|participant| participant.sid).unwrap_or_default();
                self.hear_of(join.other_participants);
                self.announce();
                if self.single.is_some() && self.unconfirmed == 0 {
                    self.offer();
                }
            }
            Response::Update(update) => self.hear_of(update.participants),
            Response::MediaSectionsRequirement(more) => self.extend(&more),
            Response::TrackPublished(_) => {
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                if self.unconfirmed == 0 {
                    self.offer();
                }
            }
            Response::Answer(answer) => {
                if let Err(end) = self.take_answer(now, &answer.sdp) {
                    self.end = Some(end);
                }
            }
            Response::Offer(offer) => match self.take_offer(now, &offer.sdp) {
                Ok(sdp) => {
                    self.statistics.offers += 1;
                    self.requests.push_back(Request::Answer(proto::SessionDescription {
                        r#type: "answer".to_owned(),
                        sdp,
                        id: offer.id,
                        ..Default::default()
                    }));
                }
                Err(end) => self.end = Some(end),
            },
            Response::SpeakersChanged(_) => self.statistics.speaker_updates += 1,
            Response::Leave(leave) => self.end = Some(ParticipantEnd::Left(leave.reason)),
            _ => {}
        }
    }

    /// Offers the sections that the server asks for, when it may.
    fn extend(&mut self, more: &proto::MediaSectionsRequirement) {
        if self.single.as_mut().is_some_and(|single| single.must_offer(more)) {
            self.offer();
        }
    }

    /// Takes what is told of participants.
    fn hear_of(&mut self, participants: Vec<proto::ParticipantInfo>) {
        for info in participants.into_iter().filter(|info| info.sid != self.sid) {
            if info.state == i32::from(proto::participant_info::State::Disconnected) {
                self.others.remove(&info.sid);
            } else {
                self.others.insert(info.sid.clone(), info);
            }
        }
    }

    /// Announces what will be published.
    fn announce(&mut self) {
        let number = self.config.number;
        if self.config.audio {
            self.unconfirmed += 1;
            self.requests.push_back(Request::AddTrack(proto::AddTrackRequest {
                cid: cid(MediaKind::Audio, number),
                name: "microphone".to_owned(),
                r#type: proto::TrackType::Audio.into(),
                source: proto::TrackSource::Microphone.into(),
                ..Default::default()
            }));
        }
        if self.config.video.is_some() {
            self.unconfirmed += 1;
            let (width, height) = (320, 180);
            let quality = proto::VideoQuality::High.into();
            let layer = proto::VideoLayer { quality, width, height, ..Default::default() };
            self.requests.push_back(Request::AddTrack(proto::AddTrackRequest {
                cid: cid(MediaKind::Video, number),
                name: "camera".to_owned(),
                r#type: proto::TrackType::Video.into(),
                source: proto::TrackSource::Camera.into(),
                width,
                height,
                layers: vec![layer],
                ..Default::default()
            }));
        }
    }

    /// Offers the announced tracks, audio first, then what it receives in.
    fn offer(&mut self) {
        let [audio, video, rtx] = self.ssrcs;
        let cids = [cid(MediaKind::Audio, self.config.number), cid(MediaKind::Video, self.config.number)];
        let mut tracks = Vec::new();
        if self.config.audio {
            tracks.push(Offered { kind: MediaKind::Audio, cid: &cids[0], ssrc: audio, rtx: None });
        }
        if self.config.video.is_some() {
            tracks.push(Offered { kind: MediaKind::Video, cid: &cids[1], ssrc: video, rtx: Some(rtx) });
        }
        let fingerprint = self.config.identity.fingerprint();
        let receiving = self.single.as_mut().map_or(&[][..], Single::offered);
        let sdp = self.publisher.describe(fingerprint, |local| description::offer(local, &tracks, receiving));
        let id = self.publisher.version as u32;
        self.requests.push_back(Request::Offer(proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp,
            id,
            ..Default::default()
        }));
    }

    fn take_answer(&mut self, now: Micros, sdp: &str) -> Result<(), ParticipantEnd> {
        let answer = Description::parse(sdp).map_err(|_| ParticipantEnd::Description)?;
        if self.publisher.client.state() == ClientState::New {
            self.begin_sources(now, &answer)?;
        }
        self.publisher.connect(now, sdp, &answer);
        if let Some(single) = &mut self.single {
            let again = single.answered();
            self.receive(&answer);
            if again {
                self.offer();
            }
        }
        Ok(())
    }

    /// Begins to send what the first answer takes.
    fn begin_sources(&mut self, now: Micros, answer: &Description) -> Result<(), ParticipantEnd> {
        let mut sections = answer.sections.iter();
        if self.config.audio {
            let section = sections.next().ok_or(ParticipantEnd::Rejected)?;
            let (format, extensions) = description::accepted(section).ok_or(ParticipantEnd::Rejected)?;
            let track = TrackConfig {
                track: AUDIO_TRACK,
                mid: Some(section.mid),
                pt: format.pt,
                rtx_pt: None,
                extensions,
                phase_us: self.phase_us(20_000),
                frames_max: None,
            };
            let ssrc = Ssrc(self.ssrcs[0]);
            let audio =
                AudioConfig { track, ssrc, payload_bytes: 80, level: 30, red_pt: None, nack: format.nack };
            self.publisher.client.publish_audio(now, audio);
        }
        if let Some(video) = self.config.video {
            let section = sections.next().ok_or(ParticipantEnd::Rejected)?;
            let (format, extensions) = description::accepted(section).ok_or(ParticipantEnd::Rejected)?;
            let fps = video.fps.max(1);
            let frame_bytes = (video.bitrate_bps / 8 / fps) as usize;
            let frame_interval_us = 1_000_000 / u64::from(fps);
            let track = TrackConfig {
                track: VIDEO_TRACK,
                mid: Some(section.mid),
                pt: format.pt,
                rtx_pt: format.rtx_pt,
                extensions,
                phase_us: self.phase_us(frame_interval_us),
                frames_max: None,
            };
            let encoding = Encoding {
                ssrc: Ssrc(self.ssrcs[1]),
                rtx: Some(Ssrc(self.ssrcs[2])),
                rid: None,
                frame_bytes,
                // Keyframes of a camera are a few times as large.
                keyframe_bytes: frame_bytes * 4,
            };
            self.publisher.client.publish_video(
                now,
                VideoConfig {
                    track,
                    codec: VideoCodec::Vp8,
                    scalability: Scalability::L1T1,
                    encodings: vec![encoding],
                    size: (640, 360),
                    ramp_us: 0,
                    frame_interval_us,
                    payload_bytes_max: 1_150,
                    size_jitter_percent: 20,
                },
            );
        }
        Ok(())
    }

    fn take_offer(&mut self, now: Micros, sdp: &str) -> Result<String, ParticipantEnd> {
        let offer = Description::parse(sdp).map_err(|_| ParticipantEnd::Description)?;
        self.receive(&offer);
        let fingerprint = self.config.identity.fingerprint();
        let answer = self.subscriber.describe(fingerprint, |local| description::answer(local, &offer));
        self.subscriber.connect(now, sdp, &offer);
        Ok(answer)
    }

    /// Expects the streams that a description of the server names, and no others.
    fn receive(&mut self, told: &Description) {
        let wanted: Vec<_> = told.sections.iter().filter_map(description::receive).collect();
        let leg = if self.config.single { &mut self.publisher } else { &mut self.subscriber };
        let client = &mut leg.client;
        self.streams.retain(|ssrc| {
            let stays = wanted.iter().any(|stream| stream.ssrc == *ssrc);
            if !stays {
                client.forget(*ssrc);
            }
            stays
        });
        for stream in wanted {
            if !self.streams.contains(&stream.ssrc) {
                self.streams.push(stream.ssrc);
                client.receive(stream);
            }
        }
    }

    /// Participants do not capture in step.
    fn phase_us(&self, interval_us: u64) -> u64 {
        Rng::new(self.config.seed).below(interval_us)
    }
}

impl Leg {
    fn new(config: &ParticipantConfig, rng: &mut Rng) -> Self {
        let ice = IceCredentials {
            ufrag: format!("{:08x}", rng.next_u64() as u32),
            pwd: format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
        };
        let security =
            Security::Dtls { identity: config.identity.clone(), version: DtlsVersion::V12, profile: None };
        let client = Client::new(ClientConfig {
            room: config.room,
            publisher: config.number,
            ice,
            security,
            suite: Suite::detect(),
            seed: rng.next_u64(),
        });
        Self { client, candidates: Vec::new(), session: rng.next_u64() >> 1, version: 0 }
    }

    fn describe(&mut self, fingerprint: Fingerprint, write: impl FnOnce(&Local<'_>) -> String) -> String {
        self.version += 1;
        write(&Local {
            ice: self.client.local_ice(),
            fingerprint,
            session: self.session,
            version: self.version,
        })
    }

    /// Takes the server's side of the transport, the first time it is described.
    fn connect(&mut self, now: Micros, sdp: &str, description: &Description) {
        if self.client.state() != ClientState::New {
            return;
        }
        self.candidates = description::candidates(sdp);
        let transport = &description.transport;
        let ice = IceCredentials { ufrag: transport.ufrag.clone(), pwd: transport.pwd.clone() };
        self.client.set_remote(now, &Remote { ice, fingerprint: Some(transport.fingerprint) });
    }
}

/// What a track is called before the server gives it an id.
fn cid(kind: MediaKind, number: u32) -> String {
    match kind {
        MediaKind::Audio => format!("mic-{number}"),
        MediaKind::Video => format!("cam-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn participant(audio: bool) -> Participant {
        let identity = Identity::generate().expect("the library makes certificates");
        let (room, number) = (1, 3);
        Participant::new(ParticipantConfig {
            room,
            number,
            audio,
            video: None,
            single: false,
            identity,
            seed: 5,
        })
    }

    fn response(message: Response) -> proto::SignalResponse {
        proto::SignalResponse { message: Some(message) }
    }

    #[test]
    fn a_publisher_announces_then_offers_what_was_confirmed() {
        let mut participant = participant(true);
        assert!(participant.poll_request().is_none());
        participant.handle_response(Micros(0), response(Response::Join(proto::JoinResponse::default())));
        let Some(Request::AddTrack(add)) = participant.poll_request().and_then(|r| r.message) else {
            panic!("it announces its track")
        };
        assert_eq!(add.cid, "mic-3");
        assert!(participant.poll_request().is_none());
        let published = proto::TrackPublishedResponse { cid: add.cid.clone(), track: None };
        participant.handle_response(Micros(0), response(Response::TrackPublished(published)));
        let Some(Request::Offer(offer)) = participant.poll_request().and_then(|r| r.message) else {
            panic!("it offers its track")
        };
        let read = Description::parse(&offer.sdp).expect("a valid offer");
        assert_eq!(read.sections[0].track, Some(add.cid));
        assert!(!participant.is_ready());
    }

    #[test]
    fn pings_follow_the_servers_interval_and_leave_ends() {
        let mut participant = participant(false);
        assert_eq!(participant.next_timeout(), Micros::NEVER);
        let join = proto::JoinResponse { ping_interval: 3, ..Default::default() };
        participant.handle_response(Micros(0), response(Response::Join(join)));
        assert_eq!(participant.next_timeout(), Micros(3_000_000));
        participant.handle_timeout(Micros(3_000_000));
        assert!(matches!(
            participant.poll_request().and_then(|r| r.message),
            Some(Request::PingReq(proto::Ping { timestamp: 3_000, .. }))
        ));
        let leave = proto::LeaveRequest { reason: 4, ..Default::default() };
        participant.handle_response(Micros(0), response(Response::Leave(leave)));
        assert_eq!(participant.end(), Some(ParticipantEnd::Left(4)));
    }

    #[test]
    fn nonsense_is_an_end_and_no_panic() {
        for sdp in ["", "v=0", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 X 0\r\n"] {
            let description = proto::SessionDescription { sdp: sdp.to_owned(), ..Default::default() };
            let mut participant = participant(true);
            participant.handle_response(Micros(0), response(Response::Offer(description.clone())));
            assert_eq!(participant.end(), Some(ParticipantEnd::Description));
            participant.handle_response(Micros(0), response(Response::Answer(description)));
            participant.handle_response(Micros(0), proto::SignalResponse { message: None });
            assert_eq!(participant.statistics().malformed, 1);
        }
    }
}
