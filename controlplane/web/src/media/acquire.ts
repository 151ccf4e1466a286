// Camera and microphone before the meeting: one permission prompt, and a part that fails does not take the other with it.

import type { CaptureSize } from '../capture';
import { faultOf, type MediaFault } from './faults';

export type MediaKind = 'microphone' | 'camera';

export interface Wish {
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly capture: CaptureSize;
  readonly microphoneId?: string | undefined;
  readonly cameraId?: string | undefined;
}

export interface Acquired {
  readonly microphone?: MediaStreamTrack;
  readonly camera?: MediaStreamTrack;
  readonly faults: { readonly microphone?: MediaFault; readonly camera?: MediaFault };
}

/** False when the browser hides devices: plain HTTP on anything but localhost. */
export function mediaAvailable(): boolean {
  return window.isSecureContext && typeof navigator.mediaDevices?.getUserMedia === 'function';
}

export function screenShareAvailable(): boolean {
  return window.isSecureContext && typeof navigator.mediaDevices?.getDisplayMedia === 'function';
}

/** Never throws: what could not be had is in `faults`. */
export async function acquire(wish: Wish): Promise<Acquired> {
  if (!wish.microphone && !wish.camera) return { faults: {} };
  if (!mediaAvailable()) {
    return {
      faults: {
        ...(wish.microphone ? { microphone: 'insecure' } : {}),
        ...(wish.camera ? { camera: 'insecure' } : {}),
      },
    };
  }
  if (wish.microphone && wish.camera) {
    try {
      return tracksOf(await navigator.mediaDevices.getUserMedia(constraints(wish)));
    } catch (error) {
      if (faultOf(error) === 'refused' && (await bothRefused())) {
        return { faults: { microphone: 'refused', camera: 'refused' } };
      }
      // One of the two is refused, absent or busy. Asked apart, the other still works.
    }
  }
  // One after the other: two prompts at once confuse people and some browsers.
  const camera = wish.camera ? await acquireOne({ ...wish, microphone: false }, 'camera') : undefined;
  const microphone = wish.microphone ? await acquireOne({ ...wish, camera: false }, 'microphone') : undefined;
  return { ...camera, ...microphone, faults: { ...camera?.faults, ...microphone?.faults } };
}

export function stopTracks(acquired: Acquired): void {
  acquired.microphone?.stop();
  acquired.camera?.stop();
}

async function acquireOne(wish: Wish, kind: MediaKind): Promise<Acquired> {
  if ((await permission(kind)) === 'denied') return { faults: { [kind]: 'refused' } };
  try {
    return tracksOf(await navigator.mediaDevices.getUserMedia(constraints(wish)));
  } catch (error) {
    return { faults: { [kind]: faultOf(error) } };
  }
}

function constraints(wish: Wish): MediaStreamConstraints {
  // `ideal` for the device too: a remembered device that is unplugged must not stop the join.
  return {
    audio: wish.microphone ? microphoneConstraints(wish.microphoneId) : false,
    video: wish.camera ? cameraConstraints(wish.capture, wish.cameraId) : false,
  };
}

export function microphoneConstraints(deviceId?: string): MediaTrackConstraints {
  return {
    autoGainControl: true,
    echoCancellation: true,
    noiseSuppression: true,
    ...(deviceId ? { deviceId: { ideal: deviceId } } : {}),
  };
}

export function cameraConstraints(capture: CaptureSize, deviceId?: string): MediaTrackConstraints {
  return {
    width: { ideal: capture.width },
    height: { ideal: capture.height },
    frameRate: { ideal: capture.framesPerSecond, max: capture.framesPerSecond },
    ...(deviceId ? { deviceId: { ideal: deviceId } } : {}),
  };
}

function tracksOf(stream: MediaStream): Acquired {
  const microphone = stream.getAudioTracks()[0];
  const camera = stream.getVideoTracks()[0];
  return { ...(microphone ? { microphone } : {}), ...(camera ? { camera } : {}), faults: {} };
}

/** One answer for both: asking again apart would only show the same prompt twice more. */
async function bothRefused(): Promise<boolean> {
  const camera = await permission('camera');
  return camera !== 'granted' && camera === (await permission('microphone'));
}

async function permission(kind: MediaKind): Promise<PermissionState | undefined> {
  try {
    return (await navigator.permissions.query({ name: kind as PermissionName })).state;
  } catch {
    // Not every browser answers for devices; then the request itself tells.
    return undefined;
  }
}
