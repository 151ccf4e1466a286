// Preferences of this browser: name, capture size, devices. Storage may be forbidden; then they last as long as the page.

import { CAPTURE_DEFAULT, type CaptureSize, formatCapture, parseCapture } from './capture';

export interface Preferences {
  readonly name: string;
  readonly capture: CaptureSize;
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly microphoneId?: string;
  readonly cameraId?: string;
  readonly speakerId?: string;
}

const KEYS = {
  name: 'kaigi.name',
  capture: 'kaigi.capture',
  microphone: 'kaigi.microphone',
  camera: 'kaigi.camera',
  microphoneId: 'kaigi.microphone-id',
  cameraId: 'kaigi.camera-id',
  speakerId: 'kaigi.speaker-id',
} as const;

export function loadPreferences(): Preferences {
  const text = (key: keyof typeof KEYS): string | undefined => read(KEYS[key]) ?? undefined;
  const microphoneId = text('microphoneId');
  const cameraId = text('cameraId');
  const speakerId = text('speakerId');
  return {
    name: text('name') ?? '',
    capture: parseCapture(text('capture')) ?? CAPTURE_DEFAULT,
    microphone: text('microphone') !== 'off',
    camera: text('camera') !== 'off',
    ...(microphoneId ? { microphoneId } : {}),
    ...(cameraId ? { cameraId } : {}),
    ...(speakerId ? { speakerId } : {}),
  };
}

export function savePreferences(change: Partial<Preferences>): void {
  for (const key of Object.keys(change) as (keyof Preferences)[]) {
    const value = change[key];
    if (value === undefined) continue;
    if (typeof value === 'boolean') write(KEYS[key], value ? 'on' : 'off');
    else if (typeof value === 'string') write(KEYS[key], value);
    else write(KEYS[key], formatCapture(value));
  }
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Private mode or a full store: the choice holds until the page closes.
  }
}
