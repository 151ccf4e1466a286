// A WHEP player and a WHIP publisher on `werift` in one: what it is sent in one meeting it sends to another, packet by packet. It has no codecs.
import { MediaStreamTrack, RTCPeerConnection, useNACK, useOPUS, usePLI, useSdesMid, useTransportWideCC, useTWCC, useVP8 } from 'werift';
import { HttpSession, invitation } from './http-session.mjs';

const EXTENSIONS = { audio: [useSdesMid(), useTransportWideCC()], video: [useSdesMid(), useTransportWideCC()] };

const newPeer = () => new RTCPeerConnection({
  codecs: { audio: [useOPUS()], video: [useVP8({ rtcpFeedback: [useNACK(), usePLI(), useTWCC()] })] },
  headerExtensions: EXTENSIONS, iceServers: [], bundlePolicy: 'max-bundle', iceUseIpv6: false,
});

/** Offers what `peer` has to a door and takes the answer. Its candidates are complete once the description is set. */
async function connect(peer, invited) {
  await peer.setLocalDescription(await peer.createOffer());
  const session = await HttpSession.open(invited, peer.localDescription.sdp);
  await peer.setRemoteDescription({ type: 'answer', sdp: session.answer });
  return session;
}

/** Counts packets by their numbers, which may come in another order. */
class Packets {
  constructor() {
    this.numbers = new Set();
    this.lowest = this.highest = undefined;
  }

  add(number) {
    this.highest ??= number;
    this.lowest ??= number;
    // The number without its wraps: the one nearest to the highest.
    const ahead = ((number - this.highest + 0x18000) & 0xffff) - 0x8000;
    const whole = this.highest + ahead;
    this.highest = Math.max(this.highest, whole);
    this.lowest = Math.min(this.lowest, whole);
    this.numbers.add(whole);
  }

  get count() {
    return this.numbers.size;
  }

  /** Numbers between the lowest and the highest that never came. */
  get missing() {
    return this.count && this.highest - this.lowest + 1 - this.count;
  }
}

/** The size of VP8's payload descriptor (RFC 7741 section 4.2). */
function descriptorBytes(payload) {
  if (!(payload[0] & 0x80)) return 1;
  const [picture, level, temporal] = [payload[1] & 0x80, payload[1] & 0x40, payload[1] & 0x30];
  const wide = picture && payload[2] & 0x80;
  return 2 + (picture ? (wide ? 2 : 1) : 0) + (level ? 1 : 0) + (temporal ? 1 : 0);
}

/** Whether the packet begins a key frame: first partition, and the frame header's inverse key frame flag (RFC 6386 section 9.1). */
const beginsKeyframe = (payload) => (payload[0] & 0x1f) === 0x10 && (payload[descriptorBytes(payload)] & 1) === 0;

export class WeriftRelay {
  /** Plays `from` and publishes to `to`, as a guest of this name in each. */
  static async open(appliance, { from, to }, name) {
    const self = new WeriftRelay();
    self.packets = { audio: new Packets(), video: new Packets() };
    Object.assign(self, { pictures: 0, keyframes: 0, keyframesAsked: 0, startsWithKeyframe: undefined });

    self.publisher = newPeer();
    const tracks = Object.fromEntries(['audio', 'video'].map((kind) => [kind, new MediaStreamTrack({ kind })]));
    const senders = Object.values(tracks).map((track) => self.publisher.addTransceiver(track, { direction: 'sendonly' }).sender);

    self.player = newPeer();
    self.player.onTrack.subscribe((track) => track.onReceiveRtp.subscribe((rtp) => self.pass(rtp, tracks[track.kind])));
    const receivers = ['audio', 'video'].map((kind) => self.player.addTransceiver(kind, { direction: 'recvonly' }).receiver);
    senders[1].onPictureLossIndication.subscribe(() => {
      self.keyframesAsked++;
      if (self.ssrc !== undefined) void receivers[1].sendRtcpPLI(self.ssrc);
    });

    self.sessions = [
      await connect(self.publisher, await invitation(appliance, to, name, 'whip')),
      await connect(self.player, await invitation(appliance, from, name, 'whep')),
    ];
    return self;
  }

  pass(rtp, track) {
    const { header, payload } = rtp;
    this.packets[track.kind].add(header.sequenceNumber);
    if (track.kind === 'video' && payload.length > 0) {
      this.ssrc = header.ssrc;
      this.startsWithKeyframe ??= beginsKeyframe(payload);
      this.keyframes += Number(beginsKeyframe(payload));
      this.pictures += Number(header.marker);
    }
    const copy = rtp.clone();
    // Their numbers are of the other connection.
    copy.header.extensions = [];
    track.writeRtp(copy);
  }

  /** What came from the first meeting, and how often the second asked for a keyframe. */
  get seen() {
    const [video, audio] = ['video', 'audio'].map((kind) => ({ packets: this.packets[kind].count, missing: this.packets[kind].missing }));
    const { pictures, keyframes, startsWithKeyframe, keyframesAsked } = this;
    return { video: { ...video, pictures, keyframes, startsWithKeyframe }, audio, keyframesAsked };
  }

  /** Ends both sessions once; their statuses then. */
  async close() {
    if (this.closed) return undefined;
    this.closed = true;
    const statuses = await Promise.all(this.sessions.map((session) => session.close()));
    await Promise.all([this.player, this.publisher].map((peer) => peer.close()));
    return statuses;
  }
}
