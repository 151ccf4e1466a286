//! Data packets of the LiveKit client protocol: what a participant says to others, made true before they hear it.
//!
//! Promises: pure functions. Who sent a packet is what we know, whatever it says; the deprecated fields of user packets say the same as
//! the ones that replaced them; what cannot be read, or is not a participant's to say, is refused with a reason.
//! Not here: who the receivers are (`room::channels`).

use bytes::Bytes;
use dataplane::base::limits::CHANNEL_SEND_BYTES_MAX;
use livekit_protocol as proto;
use prost::Message as _;
use proto::data_packet::{Kind, Value};

/// Receivers one packet may name. The largest meetings have a few hundred people.
pub const DESTINATIONS_MAX: usize = 1_000;

/// Which of the two channels (their labels are part of the protocol).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Channel {
    /// `_reliable`: ordered, every message arrives.
    Reliable,
    /// `_lossy`: unordered, sent once.
    Lossy,
}

impl Channel {
    /// Both, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Reliable, Self::Lossy];

    /// The channel of this label. `_data_track` is none: it carries no data packets.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| label.strip_prefix('_') == Some(channel.name()))
    }

    /// Label without its underscore, and the metric label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reliable => "reliable",
            Self::Lossy => "lossy",
        }
    }
}

/// Why a message went to nobody. Each is a value of `kaigi_data_refused_total{reason}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// Not a `DataPacket`.
    Malformed,
    /// Of a kind that participants do not send to each other, or that this server does not know.
    Kind,
    /// Names more receivers than [`DESTINATIONS_MAX`].
    Destinations,
    /// Longer than what is sent, once its true sender stands in it.
    TooLong,
    /// Said before: a client repeats after a resume what it does not know to have arrived.
    Duplicate,
    /// On a channel that carries no data packets.
    Channel,
    /// Of somebody whom the host does not let send data.
    NotAllowed,
}

impl Refusal {
    /// All, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Kind,
        Self::Destinations,
        Self::TooLong,
        Self::Duplicate,
        Self::Channel,
        Self::NotAllowed,
    ];

    /// The metric label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Kind => "kind",
            Self::Destinations => "destinations",
            Self::TooLong => "too_long",
            Self::Duplicate => "duplicate",
            Self::Channel => "channel",
            Self::NotAllowed => "not_allowed",
        }
    }
}

/// Whom a packet names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destinations {
    /// Nobody: it is for everybody else.
    All,
    /// These identities.
    Identities(Vec<String>),
    /// These participant ids, as old clients do.
    Sids(Vec<String>),
}

/// A packet as others may hear it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamped {
    /// For whom.
    pub destinations: Destinations,
    /// Its number among the sender's reliable packets; 0 without one.
    pub sequence: u32,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Reads a packet that came on `channel` from the participant `identity`, `sid`, and writes it as others may hear it.
///
/// # Errors
/// See [`Refusal`]; never `Duplicate` or `Channel`, which take more than one packet to see.
pub fn stamp(bytes: &[u8], channel: Channel, identity: &str, sid: &str) -> Result<Stamped, Refusal> {
    let mut packet = proto::DataPacket::decode(bytes).map_err(|_| Refusal::Malformed)?;
    set_kind(&mut packet, channel);
    packet.participant_identity = identity.into();
    packet.participant_sid = sid.into();
    if channel == Channel::Lossy {
        // Numbers are for what can be repeated.
        packet.sequence = 0;
    }
    let mut sids = Vec::new();
    match &mut packet.value {
        Some(Value::User(user)) => sids = set_user(user, &mut packet.destination_identities, identity, sid),
        Some(
            Value::SipDtmf(_)
            | Value::Transcription(_)
            | Value::ChatMessage(_)
            | Value::RpcRequest(_)
            | Value::RpcAck(_)
            | Value::RpcResponse(_)
            | Value::StreamHeader(_)
            | Value::StreamChunk(_)
            | Value::StreamTrailer(_)
            | Value::EncryptedPacket(_),
        ) => {}
        // Who speaks is ours to say, and metrics are for a server.
        _ => return Err(Refusal::Kind),
    }
    if packet.destination_identities.len().max(sids.len()) > DESTINATIONS_MAX {
        return Err(Refusal::Destinations);
    }
    if packet.encoded_len() > CHANNEL_SEND_BYTES_MAX as usize {
        return Err(Refusal::TooLong);
    }
    let bytes = packet.encode_to_vec().into();
    let destinations = if !packet.destination_identities.is_empty() {
        Destinations::Identities(packet.destination_identities)
    } else if sids.is_empty() {
        Destinations::All
    } else {
        Destinations::Sids(sids)
    };
    Ok(Stamped { destinations, sequence: packet.sequence, bytes })
}

#[expect(deprecated, reason = "clients that are older than the channels' labels read it")]
fn set_kind(packet: &mut proto::DataPacket, channel: Channel) {
    packet.kind = match channel {
        Channel::Reliable => Kind::Reliable,
        Channel::Lossy => Kind::Lossy,
    }
    .into();
}

/// Brings the fields of a user packet and those of its envelope into step; participant ids that only old clients name.
#[expect(deprecated, reason = "clients that are older than the envelope's fields read and write them")]
fn set_user(
    user: &mut proto::UserPacket,
    identities: &mut Vec<String>,
    identity: &str,
    sid: &str,
) -> Vec<String> {
    user.participant_identity = identity.into();
    user.participant_sid = sid.into();
    if identities.is_empty() {
        identities.clone_from(&user.destination_identities);
    } else {
        user.destination_identities.clone_from(identities);
    }
    if identities.is_empty() { user.destination_sids.clone() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(payload: &[u8]) -> proto::DataPacket {
        let user = proto::UserPacket { payload: payload.into(), ..Default::default() };
        proto::DataPacket { value: Some(Value::User(user)), ..Default::default() }
    }

    fn stamped(packet: &proto::DataPacket, channel: Channel) -> (Stamped, proto::DataPacket) {
        let stamped = stamp(&packet.encode_to_vec(), channel, "aoi", "PA_1").expect("it is fine");
        let read = proto::DataPacket::decode(stamped.bytes.clone()).expect("we wrote it");
        (stamped, read)
    }

    #[test]
    #[expect(deprecated, reason = "old fields are kept in step")]
    fn the_true_sender_stands_in_every_field_whatever_the_packet_said() {
        let mut lie = user(b"hello");
        lie.participant_identity = "botan".into();
        lie.participant_sid = "PA_2".into();
        lie.kind = Kind::Lossy.into();
        lie.sequence = 9;
        if let Some(Value::User(user)) = &mut lie.value {
            user.participant_identity = "botan".into();
            user.participant_sid = "PA_2".into();
        }
        let (told, read) = stamped(&lie, Channel::Reliable);
        assert_eq!((told.sequence, &told.destinations), (9, &Destinations::All));
        assert_eq!((read.participant_identity.as_str(), read.participant_sid.as_str()), ("aoi", "PA_1"));
        assert_eq!((read.kind(), read.sequence), (Kind::Reliable, 9));
        let Some(Value::User(user)) = read.value else { panic!("it was a user packet") };
        assert_eq!((user.participant_identity.as_str(), user.participant_sid.as_str()), ("aoi", "PA_1"));
        assert_eq!(user.payload, b"hello");
        let (told, read) = stamped(&lie, Channel::Lossy);
        assert_eq!((told.sequence, read.sequence, read.kind()), (0, 0, Kind::Lossy));
    }

    #[test]
    #[expect(deprecated, reason = "old fields are kept in step")]
    fn receivers_are_found_in_every_field_that_clients_name_them_in() {
        let names = || vec!["botan".to_owned(), "chika".to_owned()];
        let mut new = user(b"x");
        new.destination_identities = names();
        let mut old = user(b"x");
        if let Some(Value::User(user)) = &mut old.value {
            user.destination_identities = names();
        }
        for packet in [new, old] {
            let (told, read) = stamped(&packet, Channel::Reliable);
            assert_eq!(told.destinations, Destinations::Identities(names()));
            assert_eq!(read.destination_identities, names());
            let Some(Value::User(user)) = read.value else { panic!("it was a user packet") };
            assert_eq!(user.destination_identities, names());
        }
        let mut oldest = user(b"x");
        if let Some(Value::User(user)) = &mut oldest.value {
            user.destination_sids = vec!["PA_7".into()];
        }
        assert_eq!(stamped(&oldest, Channel::Lossy).0.destinations, Destinations::Sids(vec!["PA_7".into()]));
    }

    #[test]
    #[expect(deprecated, reason = "old clients could say who speaks")]
    fn what_is_no_packet_or_not_a_participants_to_say_is_refused() {
        let refused =
            |bytes: &[u8]| stamp(bytes, Channel::Reliable, "aoi", "PA_1").expect_err("it is refused");
        assert_eq!(refused(b""), Refusal::Kind);
        assert_eq!(refused(&[0xff; 30]), Refusal::Malformed);
        let speaker = Value::Speaker(proto::ActiveSpeakerUpdate::default());
        let packet = proto::DataPacket { value: Some(speaker), ..Default::default() };
        assert_eq!(refused(&packet.encode_to_vec()), Refusal::Kind);
        let mut crowd = user(b"x");
        crowd.destination_identities = vec!["botan".into(); DESTINATIONS_MAX];
        assert!(stamp(&crowd.encode_to_vec(), Channel::Reliable, "aoi", "PA_1").is_ok());
        crowd.destination_identities = vec![String::new(); 100_000];
        assert_eq!(refused(&crowd.encode_to_vec()), Refusal::Destinations);
        let mut long = user(&[0; CHANNEL_SEND_BYTES_MAX as usize / 2]);
        long.destination_identities = vec!["n".repeat(CHANNEL_SEND_BYTES_MAX as usize / 4 - 200); 1];
        assert!(stamp(&long.encode_to_vec(), Channel::Reliable, "aoi", "PA_1").is_ok());
        long.destination_identities.push("n".repeat(400));
        assert_eq!(refused(&long.encode_to_vec()), Refusal::TooLong);
    }

    #[test]
    fn a_packet_cut_or_changed_anywhere_is_refused_or_still_of_its_true_sender() {
        let mut packet = user(b"hello, everybody");
        packet.destination_identities = vec!["botan".into()];
        packet.participant_sid = "PA_2".into();
        let bytes = packet.encode_to_vec();
        let check = |bytes: &[u8]| {
            if let Ok(stamped) = stamp(bytes, Channel::Reliable, "aoi", "PA_1") {
                let read = proto::DataPacket::decode(stamped.bytes).expect("we wrote it");
                assert_eq!(
                    (read.participant_identity.as_str(), read.participant_sid.as_str()),
                    ("aoi", "PA_1")
                );
            }
        };
        for end in 0..bytes.len() {
            check(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            for value in 0..=u8::MAX {
                let mut wrong = bytes.clone();
                wrong[at] = value;
                check(&wrong);
            }
        }
    }
}
