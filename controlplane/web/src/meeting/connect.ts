// From an admission to a connected Room: the options of the product, and failures as problems.

import {
  ConnectionError,
  ConnectionErrorReason,
  DisconnectReason,
  LocalAudioTrack,
  LocalVideoTrack,
  Room,
  type RoomOptions,
  ScreenSharePresets,
  Track,
  VideoPreset,
} from 'livekit-client';
import type { Admission } from '../api';
import { bitrateBps, type CaptureSize } from '../capture';
import type { GoneReason } from '../gone';
import { cameraConstraints, microphoneConstraints } from '../media/acquire';
import type { Preferences } from '../preferences';
import { ProblemError } from '../problems';

export interface OwnTracks {
  readonly microphone?: MediaStreamTrack;
  readonly camera?: MediaStreamTrack;
}

export async function connectRoom(admission: Admission, preferences: Preferences): Promise<Room> {
  const room = new Room(roomOptions(preferences));
  try {
    await room.connect(admission.mediaServerUrl, admission.sessionToken, { autoSubscribe: true });
  } catch (error) {
    await room.disconnect();
    throw new ProblemError({
      kind: problemKind(error),
      detail: error instanceof Error ? error.message : String(error),
    });
  }
  window.__kaigi = { room };
  return room;
}

/** Sends the tracks opened at the door; the browser is not asked a second time. */
export async function publishOwnTracks(
  room: Room,
  tracks: OwnTracks,
  preferences: Preferences,
): Promise<void> {
  const publishing: Promise<unknown>[] = [];
  if (tracks.microphone) {
    const track = new LocalAudioTrack(
      tracks.microphone,
      microphoneConstraints(preferences.microphoneId),
      false,
    );
    publishing.push(room.localParticipant.publishTrack(track, { source: Track.Source.Microphone }));
  }
  if (tracks.camera) {
    const constraints = cameraConstraints(preferences.capture, preferences.cameraId);
    const track = new LocalVideoTrack(tracks.camera, constraints, false);
    publishing.push(
      room.localParticipant.publishTrack(track, {
        source: Track.Source.Camera,
        ...cameraEncoding(preferences.capture),
      }),
    );
  }
  await Promise.all(publishing);
}

export function cameraEncoding(capture: CaptureSize): {
  videoEncoding: { maxBitrate: number; maxFramerate: number };
} {
  return { videoEncoding: { maxBitrate: bitrateBps(capture), maxFramerate: capture.framesPerSecond } };
}

export function roomOptions(preferences: Preferences): RoomOptions {
  const { capture } = preferences;
  return {
    // Both are requests to the server. One that ignores them forwards everything, which is correct, only larger.
    adaptiveStream: true,
    dynacast: true,
    // The server speaks version 1 too. With it this browser describes seven sections before it connects, and shows a first picture later.
    singlePeerConnection: false,
    stopLocalTrackOnUnpublish: true,
    disconnectOnPageLeave: true,
    audioCaptureDefaults: {
      autoGainControl: true,
      echoCancellation: true,
      noiseSuppression: true,
      ...(preferences.microphoneId ? { deviceId: preferences.microphoneId } : {}),
    },
    videoCaptureDefaults: {
      resolution: { width: capture.width, height: capture.height, frameRate: capture.framesPerSecond },
      ...(preferences.cameraId ? { deviceId: preferences.cameraId } : {}),
    },
    ...(preferences.speakerId ? { audioOutput: { deviceId: preferences.speakerId } } : {}),
    publishDefaults: {
      videoCodec: 'vp8',
      simulcast: true,
      red: true,
      dtx: true,
      ...cameraEncoding(capture),
      videoSimulcastLayers: simulcastLayers(capture),
      screenShareEncoding: ScreenSharePresets.h1080fps15.encoding,
    },
  };
}

/** Half and quarter of the captured size; below 320 pixels across another layer is not worth its packets. */
function simulcastLayers(capture: CaptureSize): VideoPreset[] {
  return [4, 2]
    .filter((divisor) => capture.width / divisor >= 320)
    .map((divisor) => {
      const width = Math.round(capture.width / divisor);
      const height = Math.round(capture.height / divisor);
      const framesPerSecond = Math.min(capture.framesPerSecond, divisor === 4 ? 15 : 30);
      return new VideoPreset(width, height, bitrateBps({ width, height, framesPerSecond }), framesPerSecond);
    });
}

/** Why the Room says that it is over. */
export function goneReason(reason: DisconnectReason | undefined): GoneReason {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return 'left';
    case DisconnectReason.DUPLICATE_IDENTITY:
      return 'elsewhere';
    case DisconnectReason.PARTICIPANT_REMOVED:
    case DisconnectReason.USER_REJECTED:
      return 'removed';
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return 'ended';
    default:
      return 'lost';
  }
}

function problemKind(error: unknown): 'unauthorized' | 'unreachable' | 'media-path' | 'unexpected' {
  if (!(error instanceof ConnectionError)) return 'unexpected';
  switch (error.reason) {
    case ConnectionErrorReason.NotAllowed:
      return 'unauthorized';
    case ConnectionErrorReason.ServerUnreachable:
    case ConnectionErrorReason.ServiceNotFound:
    case ConnectionErrorReason.WebSocket:
      return 'unreachable';
    case ConnectionErrorReason.InternalError:
    case ConnectionErrorReason.Timeout:
      return 'media-path';
    default:
      return 'unexpected';
  }
}

declare global {
  interface Window {
    /** Debugging hook: the Room of the meeting that this page is in. */
    __kaigi?: { room: Room };
  }
}
