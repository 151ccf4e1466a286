//! Data channels of a room: what one participant says reaches those it names, in the order it was said, once.
//!
//! Which connection of a participant carries a channel does not matter: channels are known by their labels, from whatever peer the
//! packet core reports them. A message goes out on a channel that we opened, or on the client's own where it receives media over the
//! connection it opened it on.
//! Promises: every message is answered with a [`Relay`], so that its sender's credit returns; a reliable message is told to everybody
//! who was in the room, or waits in [`History`] for a channel to open; after a resume nothing is told twice that the client says it has.
//! Not here: the queues of slow receivers and the rates of fast senders (the packet plane's assist side), what is in a packet
//! (`signal::packet`).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use dataplane::base::handoff::ChannelsEnd;
use dataplane::base::ids::PeerId;
use dataplane::command::{Command, Relay};
use livekit_protocol as proto;
use prost::Message as _;

use super::history::{Audience, History};
use crate::signal::messages::{self, Farewell};
use crate::signal::packet::{self, Channel, Destinations, Refusal, Stamped};
use crate::signal::room::{Member, MemberKey, Room};

/// How long a channel that replaced another waits for the client to say what it has, milliseconds.
const SYNC_MS: u64 = 5_000;

/// A channel of a participant: on which peer, and its SCTP stream.
type Outlet = (PeerId, u16);
/// The sender of what no participant says: no member ever gets this key.
const SERVER: MemberKey = MemberKey::of_nobody();

#[derive(Clone, Copy)]
struct Known {
    outlet: Outlet,
    channel: Channel,
    /// Whether messages to the participant may go out on it.
    sends: bool,
}

/// What a participant's earlier channel may have lost.
struct Lost {
    /// Since when another one is open, milliseconds.
    open_ms: Option<u64>,
    /// What the client says it lacks, once it said so.
    missing: Option<Vec<u64>>,
}

/// One participant's data channels.
pub struct MemberData {
    known: Vec<Known>,
    /// Where it gets reliable messages. It stays while it is open: another one would get ahead of what waits in it.
    reliable: Option<Outlet>,
    lossy: Option<Outlet>,
    /// Number of the first message that was said while it was here.
    joined: u64,
    /// Number of the first message that was not handed to a channel.
    handed: u64,
    lost: Option<Lost>,
    /// Number of its last reliable message.
    last_sequence: u32,
}

impl MemberData {
    /// The number of the last message of its own that was taken, for its client to go on from.
    pub const fn last_sequence(&self) -> u32 {
        self.last_sequence
    }

    /// When it is told what it missed although its client did not say what that is.
    pub fn overdue_at(&self) -> Option<u64> {
        self.reliable?;
        Some(self.lost.as_ref()?.open_ms? + SYNC_MS)
    }

    fn find(&self, outlet: Outlet) -> Option<Channel> {
        self.known.iter().find(|known| known.outlet == outlet).map(|known| known.channel)
    }

    /// Forgets channels. The client may have opened others before it closed them: those take their place.
    fn forget(&mut self, now_ms: u64, which: impl Fn(Outlet) -> bool) {
        self.known.retain(|known| !which(known.outlet));
        if self.lossy.is_some_and(&which) {
            self.lossy = self.sending(Channel::Lossy);
        }
        if self.reliable.is_some_and(&which) {
            self.reliable = self.sending(Channel::Reliable);
            self.lost = Some(Lost { open_ms: self.reliable.map(|_| now_ms), missing: None });
        }
    }

    fn sending(&self, channel: Channel) -> Option<Outlet> {
        self.known.iter().find(|known| known.sends && known.channel == channel).map(|known| known.outlet)
    }
}

/// What was counted since the last time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Messages taken, by [`Channel`].
    pub received: [u64; Channel::ALL.len()],
    /// Copies handed to receivers' channels, by [`Channel`].
    pub sent: [u64; Channel::ALL.len()],
    /// Messages refused, by [`Refusal`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Participants who had to join anew because too much waited for them.
    pub slow: u64,
}

/// The room's part.
#[derive(Default)]
pub struct Router {
    history: History,
    counts: Counts,
}

impl Router {
    /// What a participant begins with who comes in now.
    pub fn member(&self) -> MemberData {
        let joined = self.history.next();
        MemberData {
            known: Vec::new(),
            reliable: None,
            lossy: None,
            joined,
            handed: joined,
            lost: None,
            last_sequence: 0,
        }
    }
}

impl Room {
    /// What was counted since the last call.
    pub fn take_data_counts(&mut self) -> Counts {
        std::mem::take(&mut self.data.counts)
    }

    /// A data channel is open.
    pub(in crate::signal::room) fn channel_open(
        &mut self,
        now_ms: u64,
        outlet: Outlet,
        label: &str,
        ours: bool,
    ) {
        let Some(channel) = Channel::of_label(label) else { return };
        let Some((key, _)) = self.peers.get(&outlet.0).copied() else { return };
        let Some(member) = self.members.get_mut(&key) else { return };
        let sends = ours || member.subscriber.peer.id == outlet.0;
        let data = &mut member.data;
        data.known.retain(|known| known.outlet != outlet);
        data.known.push(Known { outlet, channel, sends });
        match channel {
            Channel::Lossy => data.lossy = data.lossy.or(data.sending(channel)),
            Channel::Reliable if sends && data.reliable.is_none() => {
                data.reliable = Some(outlet);
                if let Some(lost) = &mut data.lost {
                    lost.open_ms = Some(now_ms);
                }
                self.catch_up(now_ms, key);
            }
            Channel::Reliable => {}
        }
    }

    /// The client closed a channel.
    pub(in crate::signal::room) fn channel_closed(&mut self, now_ms: u64, outlet: Outlet) {
        let Some((key, _)) = self.peers.get(&outlet.0) else { return };
        if let Some(member) = self.members.get_mut(key) {
            member.data.forget(now_ms, |other| other == outlet);
        }
    }

    /// All channels of a peer are over.
    pub(in crate::signal::room) fn channels_ended(&mut self, now_ms: u64, peer: PeerId, end: ChannelsEnd) {
        let Some((key, _)) = self.peers.get(&peer).copied() else { return };
        if let Some(member) = self.members.get_mut(&key) {
            member.data.forget(now_ms, |(other, _)| other == peer);
        }
        if end == ChannelsEnd::SlowReceiver {
            // It lacks messages that it was to get: only a new session is whole again.
            self.data.counts.slow += 1;
            self.remove(key, Some(Farewell::SlowReceiver));
        }
    }

    /// A message came.
    pub(in crate::signal::room) fn channel_message(&mut self, now_ms: u64, outlet: Outlet, bytes: &[u8]) {
        let (to, routed) = match self.route(now_ms, outlet, bytes) {
            Ok(routed) => routed,
            Err(refusal) => {
                self.data.counts.refused[refusal as usize] += 1;
                (Vec::new(), Bytes::new())
            }
        };
        let received = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.command(Command::Relay(Box::new(Relay { from: Some((outlet.0, received)), to, bytes: routed })));
    }

    fn route(&mut self, now_ms: u64, outlet: Outlet, bytes: &[u8]) -> Result<(Vec<Outlet>, Bytes), Refusal> {
        let (sender, _) = self.peers.get(&outlet.0).copied().ok_or(Refusal::Channel)?;
        let member = self.members.get_mut(&sender).ok_or(Refusal::Channel)?;
        let channel = member.data.find(outlet).ok_or(Refusal::Channel)?;
        if !member.grant.publish_data {
            return Err(Refusal::NotAllowed);
        }
        let Stamped { destinations, sequence, bytes } =
            packet::stamp(bytes, channel, &member.admission.identity, &member.sid)?;
        if sequence > 0 {
            if sequence <= member.data.last_sequence {
                return Err(Refusal::Duplicate);
            }
            member.data.last_sequence = sequence;
        }
        let sid = member.sid.clone();
        let to = self.deliver(now_ms, channel, (sender, &sid), destinations, (sequence, &bytes));
        self.data.counts.received[channel as usize] += 1;
        Ok((to, bytes))
    }

    /// Says something that comes from nobody in the room.
    pub(in crate::signal::room) fn say_as_server(
        &mut self,
        now_ms: u64,
        lossy: bool,
        packet: &proto::DataPacket,
    ) -> Result<(), Refusal> {
        let channel = if lossy { Channel::Lossy } else { Channel::Reliable };
        let Stamped { destinations, bytes, .. } = packet::stamp(&packet.encode_to_vec(), channel, "", "")?;
        let to = self.deliver(now_ms, channel, (SERVER, ""), destinations, (0, &bytes));
        self.command(Command::Relay(Box::new(Relay { from: None, to, bytes })));
        Ok(())
    }

    /// Where a message goes now; a reliable one is kept for those who cannot have it yet.
    fn deliver(
        &mut self,
        now_ms: u64,
        channel: Channel,
        (sender, sid): (MemberKey, &str),
        destinations: Destinations,
        (sequence, bytes): (u32, &Bytes),
    ) -> Vec<Outlet> {
        let audience = self.audience(sender, destinations);
        let mut to = Vec::new();
        match channel {
            Channel::Lossy => {
                let members = self.members.iter().filter(|(key, _)| **key != sender && audience.has(**key));
                to.extend(members.filter_map(|(_, member)| member.data.lossy));
            }
            Channel::Reliable => {
                let number = self.data.history.next();
                let mut late = Vec::new();
                for (key, member) in &mut self.members {
                    let data = &mut member.data;
                    match (data.reliable, &data.lost) {
                        (Some(receiver), None) => {
                            data.handed = number + 1;
                            if *key != sender && audience.has(*key) {
                                to.push(receiver);
                            }
                        }
                        (Some(_), Some(Lost { open_ms: Some(at), .. })) if at + SYNC_MS <= now_ms => {
                            late.push(*key);
                        }
                        _ => {}
                    }
                }
                self.data.history.push(now_ms, (sender, sid), sequence, audience, bytes.clone());
                for key in late {
                    self.catch_up(now_ms, key);
                }
            }
        }
        self.data.counts.sent[channel as usize] += to.len() as u64;
        to
    }

    /// Those of the room that a packet names.
    fn audience(&self, sender: MemberKey, destinations: Destinations) -> Audience {
        let named = |is_named: &dyn Fn(&Member) -> bool| {
            let members = self.members.iter().filter(|(key, member)| **key != sender && is_named(member));
            Audience::Only(members.map(|(key, _)| *key).collect())
        };
        match destinations {
            Destinations::All => Audience::Others,
            Destinations::Identities(names) => {
                let names: HashSet<String> = names.into_iter().collect();
                named(&|member| names.contains(&member.admission.identity))
            }
            Destinations::Sids(sids) => {
                let sids: HashSet<String> = sids.into_iter().collect();
                named(&|member| sids.contains(&member.sid))
            }
        }
    }

    /// Tells a participant whose channel is open what was said before it was. After another channel was lost, it waits for the client to
    /// say what it lacks, for a while.
    fn catch_up(&mut self, now_ms: u64, key: MemberKey) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let data = &mut member.data;
        let Some(outlet) = data.reliable else { return };
        let mut numbers = Vec::new();
        match data.lost.take() {
            Some(Lost { missing: Some(missing), .. }) => numbers = missing,
            Some(Lost { open_ms: Some(at), missing: None }) if at + SYNC_MS > now_ms => {
                data.lost = Some(Lost { open_ms: Some(at), missing: None });
                return;
            }
            _ => {}
        }
        let history = &self.data.history;
        let unsaid = history.since(data.handed);
        let for_it = unsaid.filter(|(_, kept)| kept.sender != key && kept.audience.has(key));
        numbers.extend(for_it.map(|(number, _)| number));
        data.handed = history.next();
        let messages: Vec<Bytes> =
            numbers.into_iter().filter_map(|number| Some(history.get(number)?.bytes.clone())).collect();
        self.data.counts.sent[Channel::Reliable as usize] += messages.len() as u64;
        for bytes in messages {
            self.command(Command::Relay(Box::new(Relay { from: None, to: vec![outlet], bytes })));
        }
    }

    /// Tells those who have waited long enough for their client's word what they missed.
    pub(in crate::signal::room) fn catch_up_overdue(&mut self, now_ms: u64) {
        let is_overdue = |data: &MemberData| data.overdue_at().is_some_and(|at| at <= now_ms);
        let overdue: Vec<MemberKey> =
            self.members.iter().filter(|(_, m)| is_overdue(&m.data)).map(|(key, _)| *key).collect();
        for key in overdue {
            self.catch_up(now_ms, key);
        }
    }

    /// A client that came back says the last message it has of each participant. What its channel was handed reaches it if the channel
    /// stands; only of a lost one is the rest said again.
    pub(in crate::signal::room) fn receive_states(
        &mut self,
        now_ms: u64,
        key: MemberKey,
        states: &[proto::DataChannelReceiveState],
    ) {
        // Of senders who have left it may have as much as of those who are here.
        let senders = self.data.history.senders();
        let last: HashMap<MemberKey, u32> = states
            .iter()
            .take(packet::DESTINATIONS_MAX)
            .filter_map(|state| Some((*senders.get(state.publisher_sid.as_str())?, state.last_seq)))
            .collect();
        let Some(member) = self.members.get_mut(&key) else { return };
        let data = &mut member.data;
        let Some(lost) = &mut data.lost else { return };
        let handed = data.handed;
        let were_handed = self.data.history.since(data.joined).take_while(|(number, _)| *number < handed);
        let missing = were_handed.filter(|(_, kept)| {
            let is_new = kept.sequence > last.get(&kept.sender).copied().unwrap_or(0);
            kept.sender != key && kept.audience.has(key) && is_new
        });
        lost.missing = Some(missing.map(|(number, _)| number).collect());
        self.catch_up(now_ms, key);
    }

    /// Data tracks are not what data channels are: they have no packets, only handles that a server gives out.
    pub(in crate::signal::room) fn refuse_data_track(
        &mut self,
        key: MemberKey,
        request: proto::PublishDataTrackRequest,
    ) {
        self.send(key, messages::data_track_refused(request));
    }
}
