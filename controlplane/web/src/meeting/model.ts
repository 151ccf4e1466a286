// The meeting as plain data: one immutable snapshot of a Room, rebuilt at most once per turn of the event loop.
// Components render snapshots and never listen to the Room themselves.

import {
  ConnectionQuality,
  ConnectionState,
  type Participant,
  ParticipantEvent,
  type RemoteParticipant,
  type Room,
  RoomEvent,
  Track,
  type TrackPublication,
} from 'livekit-client';

export type Quality = 'excellent' | 'good' | 'poor' | 'lost' | 'unknown';
export type TileKind = 'camera' | 'screen';

/** One participant. */
export interface Person {
  readonly key: string;
  readonly identity: string;
  readonly name: string;
  readonly local: boolean;
  readonly speaking: boolean;
  readonly microphoneOn: boolean;
  readonly cameraOn: boolean;
  readonly sharing: boolean;
  readonly quality: Quality;
}

/** One picture: a participant's camera (with or without video) or a shared screen. */
export interface TileView {
  readonly key: string;
  readonly kind: TileKind;
  readonly person: Person;
  /** Undefined while there is nothing to show. */
  readonly video: Track | undefined;
  /** The id of the remote video that there is to show, whether or not it arrives. */
  readonly trackId: string | undefined;
  /** The server holds the video back. */
  readonly paused: boolean;
}

export interface Snapshot {
  readonly connection: 'connecting' | 'connected' | 'reconnecting' | 'disconnected';
  readonly people: readonly Person[];
  /** The local participant's camera first, then the others in order of arrival, then screens. */
  readonly tiles: readonly TileView[];
  /** Remote audio that must be played. */
  readonly audio: readonly Track[];
  readonly soundBlocked: boolean;
}

const ROOM_EVENTS = [
  RoomEvent.ConnectionStateChanged,
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.TrackStreamStateChanged,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
  RoomEvent.ActiveSpeakersChanged,
  RoomEvent.ConnectionQualityChanged,
  RoomEvent.AudioPlaybackStatusChanged,
] as const;

export class MeetingModel {
  snapshot: Snapshot;
  readonly #listeners = new Set<() => void>();
  #scheduled = false;
  #closed = false;

  constructor(readonly room: Room) {
    this.snapshot = takeSnapshot(room);
    for (const event of ROOM_EVENTS) room.on(event, this.#changed);
    // The room does not repeat this one for the local participant.
    room.localParticipant.on(ParticipantEvent.IsSpeakingChanged, this.#changed);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#closed = true;
    for (const event of ROOM_EVENTS) this.room.off(event, this.#changed);
    this.room.localParticipant.off(ParticipantEvent.IsSpeakingChanged, this.#changed);
    this.#listeners.clear();
  }

  readonly #changed = (): void => {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A microtask, not an animation frame: hidden pages get no frames.
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#closed) return;
      this.snapshot = takeSnapshot(this.room, this.snapshot);
      for (const listener of [...this.#listeners]) listener();
    });
  };
}

function takeSnapshot(room: Room, before?: Snapshot): Snapshot {
  const remotes = [...room.remoteParticipants.values()].sort(byArrival);
  const participants: Participant[] = [room.localParticipant, ...remotes];
  const people = participants.map(personOf);
  const me = people[0];
  const wasMe = before?.people[0];
  // A full reconnect takes our tracks down and publishes them again: the switches keep showing what was chosen.
  if (me && wasMe && connectionOf(room.state) === 'reconnecting') {
    people[0] = { ...me, microphoneOn: wasMe.microphoneOn, cameraOn: wasMe.cameraOn };
  }
  const cameras: TileView[] = [];
  const screens: TileView[] = [];
  participants.forEach((participant, index) => {
    const person = people[index] as Person;
    cameras.push(cameraTile(participant, person));
    const screen = participant.getTrackPublication(Track.Source.ScreenShare);
    if (screen && !screen.isMuted) screens.push(tile(`${person.key}/screen`, 'screen', person, screen));
  });
  return {
    connection: connectionOf(room.state),
    people,
    tiles: [...cameras, ...screens],
    audio: remotes.flatMap(audioOf),
    soundBlocked: !room.canPlaybackAudio,
  };
}

function personOf(participant: Participant): Person {
  return {
    key: participant.identity,
    identity: participant.identity,
    name: participant.name ?? '',
    local: participant.isLocal,
    speaking: participant.isSpeaking && participant.isMicrophoneEnabled,
    microphoneOn: participant.isMicrophoneEnabled,
    cameraOn: participant.isCameraEnabled,
    sharing: participant.isScreenShareEnabled,
    quality: qualityOf(participant.connectionQuality),
  };
}

function cameraTile(participant: Participant, person: Person): TileView {
  return tile(`${person.key}/camera`, 'camera', person, participant.getTrackPublication(Track.Source.Camera));
}

function tile(
  key: string,
  kind: TileKind,
  person: Person,
  publication: TrackPublication | undefined,
): TileView {
  const shown = publication && !publication.isMuted ? publication : undefined;
  const track = shown?.track;
  const trackId = person.local ? undefined : shown?.trackSid;
  const paused = track !== undefined && !person.local && track.streamState === Track.StreamState.Paused;
  return { key, kind, person, video: track, trackId, paused };
}

function audioOf(participant: RemoteParticipant): Track[] {
  return [...participant.audioTrackPublications.values()].flatMap(({ track }) => (track ? [track] : []));
}

function byArrival(a: RemoteParticipant, b: RemoteParticipant): number {
  return (a.joinedAt?.getTime() ?? 0) - (b.joinedAt?.getTime() ?? 0) || (a.identity < b.identity ? -1 : 1);
}

function connectionOf(state: ConnectionState): Snapshot['connection'] {
  switch (state) {
    case ConnectionState.Connected:
      return 'connected';
    case ConnectionState.Reconnecting:
    case ConnectionState.SignalReconnecting:
      return 'reconnecting';
    case ConnectionState.Connecting:
      return 'connecting';
    default:
      return 'disconnected';
  }
}

function qualityOf(quality: ConnectionQuality): Quality {
  switch (quality) {
    case ConnectionQuality.Excellent:
      return 'excellent';
    case ConnectionQuality.Good:
      return 'good';
    case ConnectionQuality.Poor:
      return 'poor';
    case ConnectionQuality.Lost:
      return 'lost';
    default:
      return 'unknown';
  }
}
