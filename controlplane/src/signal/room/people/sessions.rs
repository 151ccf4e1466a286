//! Participants that came over HTTP: publishers by WHIP (RFC 9725), players by WHEP (draft-ietf-wish-whep). They have one
//! connection and no socket.
//!
//! Place: `signal::whip` brings requests here through the actor, which answers them after the effects are carried out.
//! Promises: a refused offer or fragment changes nothing; a session ends with its deletion, its transport, its person's removal,
//! the same person's next session, and its meeting; what it may ask for is bounded in number.
//! Not here: how many may begin (`signal::arrivals`), whom a player is shown (`streams::players`), HTTP and tokens (`signal::whip`).

use std::sync::Arc;
use std::time::Duration;

use dataplane::base::limits::TRACKS_PER_PEER;
use dataplane::base::media::{Codec, MediaKind};
use dataplane::base::rate::RateLimit;
use dataplane::base::time::Micros;
use dataplane::command::{Command, OpenStream, RemotePeer};
use livekit_protocol as proto;

use crate::ids::UserId;
use crate::sdp::SdpError;
use crate::sdp::attributes::Setup;
use crate::sdp::description::{Description, Section, SectionKind};
use crate::sdp::fragment::{self, Fragment};
use crate::sdp::lines::LocalTransport;
use crate::sdp::{play, table};
use crate::service::Admission;
use crate::signal::ids;
use crate::signal::messages;
use crate::signal::room::peer::{Peer, Remote, Side};
use crate::signal::room::streams::Player;
use crate::signal::room::{Client, Effect, Member, MemberKey, Room};
use crate::signal::track::Track;

/// Audio sections a player is sent in: as many voices as a meeting ever forwards to one receiver.
const AUDIO_SECTIONS_MAX: usize = 8;
/// Requests about one session, per second and at once: a candidate each, from every interface.
const PATCHES: (u32, u32) = (10, 50);

/// How a session came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// It publishes.
    Whip,
    /// It plays.
    Whep,
}

/// A session over HTTP.
pub struct HttpSession {
    protocol: Protocol,
    /// The last part of its address; nobody can guess it.
    resource: String,
    patches: RateLimit,
    /// What it is shown, if it plays.
    pub(in crate::signal::room) player: Option<Player>,
}

impl HttpSession {
    /// Whether it publishes.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.protocol == Protocol::Whip
    }
}

/// Somebody comes over HTTP.
pub struct Entering {
    /// To publish or to play.
    pub protocol: Protocol,
    /// Who; counted as joined.
    pub admission: Arc<Admission>,
    /// What was offered.
    pub offer: Description,
    /// How long ago the request was accepted.
    pub since_accept: Duration,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
}

/// A session has begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The last part of its address.
    pub resource: String,
    /// The entity tag of its ICE session.
    pub tag: String,
    /// The answer.
    pub answer: String,
}

/// Which session a request is about, and who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// What the address says it is.
    pub protocol: Protocol,
    /// The last part of the address.
    pub resource: String,
    /// Whoever asks.
    pub user: UserId,
}

/// What `If-Match` says (RFC 9110 section 13.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Matches {
    /// Any ICE session: an ICE restart is meant (RFC 9725 section 4.3.3).
    Any,
    /// One of these entity tags.
    Tags(Vec<String>),
}

/// What became of a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Patched {
    /// Its candidates were noted.
    Noted,
    /// ICE begins anew.
    Restarted {
        /// The entity tag of the new ICE session.
        tag: String,
        /// Our side of it.
        fragment: String,
    },
}

/// Why a request about a session is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// The offer cannot be used.
    #[error(transparent)]
    Description(#[from] SdpError),
    /// The sections are not one bundle (RFC 9725 section 4.4.1 wants it).
    #[error("the media sections are not one bundle")]
    NotBundled,
    /// No section goes the way that is needed.
    #[error("no audio or video section that this side can {}", if *.0 == Protocol::Whip { "receive: offer sendonly or sendrecv" } else { "send in: offer recvonly or sendrecv" })]
    Direction(Protocol),
    /// Nothing in common.
    #[error("no codec in common; Opus, VP8, VP9, H264 and AV1 are forwarded")]
    NoCommonFormat,
    /// More media sections than one participant may publish.
    #[error("more than {TRACKS_PER_PEER} media sections")]
    TooManySections,
    /// There is no such session.
    #[error("there is no such session; it has ended or never began")]
    NoSuchSession,
    /// It is another person's.
    #[error("the session is another participant's")]
    NotYours,
    /// The entity tag, or the credentials in the fragment, are of another ICE session.
    #[error("that is not the session's ICE session; an ICE restart takes If-Match: *")]
    OtherIceSession,
    /// The host does not let this person publish, or receive.
    #[error("the host does not allow this participant to {}", if *.0 == Protocol::Whip { "publish" } else { "receive" })]
    NotAllowed(Protocol),
    /// Too many requests.
    #[error("too many requests")]
    TooMany,
}

const fn micros(now_ms: u64) -> Micros {
    Micros(now_ms * 1_000)
}

/// Checks an offer before anything is done about it. What it has beside media is not taken.
///
/// # Errors
/// Why it cannot be used.
pub fn checked(protocol: Protocol, mut offer: Description) -> Result<Description, SessionError> {
    if offer.transport.setup == Setup::Passive {
        return Err(SdpError::Setup.into());
    }
    if !offer.is_bundled {
        return Err(SessionError::NotBundled);
    }
    if offer.sections.len() > TRACKS_PER_PEER {
        return Err(SessionError::TooManySections);
    }
    for section in &mut offer.sections {
        section.rejected |= !matches!(section.kind, SectionKind::Media(_));
    }
    let is_right = |section: &&Section| match protocol {
        Protocol::Whip => section.direction.sends(),
        Protocol::Whep => section.direction.receives(),
    };
    let mut right = offer.sections.iter().filter(|section| !section.rejected).filter(is_right).peekable();
    if right.peek().is_none() {
        return Err(SessionError::Direction(protocol));
    }
    // Redundant audio repeats what the players' own choice of a voice changes.
    let is_taken = |codec: Codec| protocol == Protocol::Whip || codec != Codec::Red;
    let is_common = |section: &Section| {
        let codecs = section.formats.iter().map(|format| format.format.codec);
        codecs.filter(|codec| is_taken(*codec)).any(|codec| table::format(codec).is_some())
    };
    if !right.any(is_common) {
        return Err(SessionError::NoCommonFormat);
    }
    Ok(offer)
}

impl Room {
    /// Lets somebody in who offers. Another session of the same person ends.
    ///
    /// # Errors
    /// Why not; then nothing has changed, and whoever counted it in counts it out.
    pub fn enter(&mut self, now_ms: u64, entering: Entering) -> Result<Opened, SessionError> {
        let Entering { protocol, admission, offer, .. } = &entering;
        let offer = checked(*protocol, offer.clone())?;
        let grant = self.grant_of(admission);
        let is_allowed = if *protocol == Protocol::Whip { grant.publish } else { grant.subscribe };
        if !is_allowed {
            return Err(SessionError::NotAllowed(*protocol));
        }
        self.open_session(now_ms, Entering { offer, ..entering })
    }

    /// Begins the session of somebody who may, with an offer that was checked.
    ///
    /// # Errors
    /// For an offer that should not have passed the check: then only an earlier session has ended.
    pub(in crate::signal::room) fn open_session(
        &mut self,
        now_ms: u64,
        entering: Entering,
    ) -> Result<Opened, SessionError> {
        let Entering { protocol, admission, offer, since_accept, wall_ms } = entering;
        self.end_earlier(&admission);
        let grant = self.grant_of(&admission);
        let key = MemberKey(self.next_member);
        self.next_member += 1;
        let peer = match protocol {
            Protocol::Whip => self.unopened_peer(),
            Protocol::Whep => self.open_peer_with(key, Side::Subscriber, &[]),
        };
        let accepted_ms = now_ms.saturating_sub(u64::try_from(since_accept.as_millis()).unwrap_or(0));
        let client = Client { auto_subscribe: false, client_protocol: 0, single: false };
        let mut member = Member::new(admission, client, peer, self.data.member(), (accepted_ms, wall_ms));
        let resource = ids::sid("") + &ids::sid("");
        let patches = RateLimit::new(PATCHES.0, PATCHES.1);
        member.grant = grant;
        member.http = Some(HttpSession { protocol, resource: resource.clone(), patches, player: None });
        let info = member.info();
        self.members.insert(key, member);
        self.broadcast(Some(key), &messages::update(vec![info]));
        let answered = match protocol {
            Protocol::Whip => self.publish_offer(key, &offer),
            Protocol::Whep => self.play_offer(key, &offer),
        };
        let opened = answered.and_then(|answer| {
            let peer = self.http_peer(key).ok_or(SessionError::NoSuchSession)?;
            Ok(Opened { resource, tag: peer.ice.ufrag.clone(), answer })
        });
        if opened.is_err() {
            // Whoever brought it counts it out.
            self.take_out(key, None);
        }
        self.handle_time(now_ms);
        opened
    }

    /// A publisher's offer: each section that sends is a track, announced by nobody.
    fn publish_offer(&mut self, key: MemberKey, offer: &Description) -> Result<String, SessionError> {
        for section in offer.sections.iter().filter(|s| !s.rejected && s.direction.sends()) {
            let SectionKind::Media(kind) = section.kind else { continue };
            let stereo = section.formats.iter().any(|format| format.fmtp.contains("stereo=1"));
            let (r#type, source) = match kind {
                MediaKind::Audio => (proto::TrackType::Audio, proto::TrackSource::Microphone),
                MediaKind::Video => (proto::TrackType::Video, proto::TrackSource::Camera),
            };
            let features = if stereo { vec![proto::AudioTrackFeature::TfStereo.into()] } else { Vec::new() };
            let request = proto::AddTrackRequest {
                cid: section.mid.as_str().to_owned(),
                r#type: r#type.into(),
                source: source.into(),
                // Encoders know by themselves what silence is to them: often it is music.
                audio_features: [features, vec![proto::AudioTrackFeature::TfNoDtx.into()]].concat(),
                ..Default::default()
            };
            let Some(track) = Track::announced(|| self.ids.track(), request) else { continue };
            self.tracks.insert(track.id(), key);
            if let Some(member) = self.members.get_mut(&key) {
                member.tracks.push(track);
            }
        }
        Ok(self.take_offer(key, offer, 0)?)
    }

    /// A player's offer: streams that roam.
    fn play_offer(&mut self, key: MemberKey, offer: &Description) -> Result<String, SessionError> {
        let sent = play::choose(offer, AUDIO_SECTIONS_MAX, ids::number);
        if sent.is_empty() {
            return Err(SessionError::NoCommonFormat);
        }
        let Some(member) = self.members.get_mut(&key) else { return Err(SessionError::NoSuchSession) };
        let peer = &mut member.subscriber.peer;
        peer.version += 1;
        let local = LocalTransport {
            ice: &peer.ice,
            fingerprint: self.plane.fingerprint,
            candidates: &self.plane.candidates,
            session: peer.session,
            version: peer.version,
        };
        let answer = play::answer(offer, &local, &sent, &member.sid)?;
        let theirs =
            Remote { ufrag: offer.transport.ufrag.clone(), fingerprint: offer.transport.fingerprint };
        let id = peer.id;
        let mut commands = vec![Command::RemotePeer(Box::new(RemotePeer {
            peer: id,
            ufrag: theirs.ufrag.clone(),
            fingerprint: theirs.fingerprint,
        }))];
        peer.remote = Some(theirs);
        let mut player = Player::default();
        for sent in sent {
            let stream = self.ids.stream();
            commands.push(Command::OpenStream(Box::new(OpenStream {
                stream,
                peer: id,
                kind: sent.kind,
                mid: sent.mid,
                ssrc: sent.ssrc,
                rtx: sent.rtx,
                extensions: sent.extensions,
            })));
            player.add(stream, sent.kind, sent.formats);
        }
        if let Some(http) = &mut member.http {
            http.player = Some(player);
        }
        self.effects.extend(commands.into_iter().map(Effect::Command));
        Ok(answer)
    }

    /// Takes a fragment about a session's ICE.
    ///
    /// # Errors
    /// Why not; then the session goes on as it was.
    pub fn patch(
        &mut self,
        now_ms: u64,
        subject: &Subject,
        matches: &Matches,
        fragment: &Fragment,
    ) -> Result<Patched, SessionError> {
        let key = self.session(subject)?;
        let http = self.members.get_mut(&key).and_then(|member| member.http.as_mut());
        if !http.is_some_and(|http| http.patches.take(micros(now_ms))) {
            return Err(SessionError::TooMany);
        }
        let Some(peer) = self.http_peer(key) else { return Err(SessionError::NoSuchSession) };
        let theirs = peer.remote.as_ref().map(|remote| &remote.ufrag);
        let is_current = fragment.ufrag.is_none() || fragment.ufrag.as_ref() == theirs;
        match (matches, &fragment.ufrag) {
            (Matches::Tags(tags), _) if !tags.contains(&peer.ice.ufrag) => Err(SessionError::OtherIceSession),
            (Matches::Tags(_), _) if !is_current => Err(SessionError::OtherIceSession),
            (Matches::Any, Some(ufrag)) if !is_current => self.restart(key, ufrag),
            _ => Ok(Patched::Noted),
        }
    }

    /// The client began ICE anew: so do we. Media goes on by the old path until the new one is chosen.
    fn restart(&mut self, key: MemberKey, ufrag: &str) -> Result<Patched, SessionError> {
        let core = self.plane.core;
        let plane = (self.plane.fingerprint, self.plane.candidates.clone());
        let Some(peer) = self.http_peer(key) else { return Err(SessionError::NoSuchSession) };
        let Some(remote) = &mut peer.remote else { return Err(SessionError::NoSuchSession) };
        ufrag.clone_into(&mut remote.ufrag);
        let fingerprint = remote.fingerprint;
        peer.ice = ids::ice(core, peer.id);
        peer.version += 1;
        let local = LocalTransport {
            ice: &peer.ice,
            fingerprint: plane.0,
            candidates: &plane.1,
            session: peer.session,
            version: peer.version,
        };
        let restarted = Patched::Restarted { tag: peer.ice.ufrag.clone(), fragment: fragment::write(&local) };
        let (peer, local) = (peer.id, peer.ice.clone());
        self.command(Command::RestartIce { peer, local });
        self.command(Command::RemotePeer(Box::new(RemotePeer {
            peer,
            ufrag: ufrag.to_owned(),
            fingerprint,
        })));
        Ok(restarted)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `NoSuchSession`, `NotYours`, `TooMany`.
    pub fn leave(&mut self, now_ms: u64, subject: &Subject) -> Result<(), SessionError> {
        let key = self.session(subject)?;
        self.remove(key, None);
        self.handle_time(now_ms);
        Ok(())
    }

    fn session(&self, subject: &Subject) -> Result<MemberKey, SessionError> {
        let is_it = |member: &Member| {
            let http = member.http.as_ref();
            http.is_some_and(|h| h.resource == subject.resource && h.protocol == subject.protocol)
        };
        let found = self.members.iter().find(|(_, member)| is_it(member));
        let (key, member) = found.ok_or(SessionError::NoSuchSession)?;
        if member.admission.user == subject.user { Ok(*key) } else { Err(SessionError::NotYours) }
    }

    /// The one connection of a session.
    fn http_peer(&mut self, key: MemberKey) -> Option<&mut Peer> {
        let member = self.members.get_mut(&key)?;
        match member.http.as_ref()?.protocol {
            Protocol::Whip => member.publisher.as_mut(),
            Protocol::Whep => Some(&mut member.subscriber.peer),
        }
    }
}
