// The devices of this machine, kept current while a component shows them.

import { useEffect, useState } from 'preact/hooks';

export interface Device {
  readonly id: string;
  readonly label: string;
}

export interface Devices {
  readonly cameras: readonly Device[];
  readonly microphones: readonly Device[];
  readonly speakers: readonly Device[];
}

const NONE: Devices = { cameras: [], microphones: [], speakers: [] };

export async function listDevices(): Promise<Devices> {
  if (typeof navigator.mediaDevices?.enumerateDevices !== 'function') return NONE;
  const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const of = (kind: MediaDeviceKind): Device[] =>
    all
      .filter((device) => device.kind === kind && device.deviceId)
      .map(({ deviceId, label }) => ({ id: deviceId, label }));
  return {
    cameras: of('videoinput'),
    microphones: of('audioinput'),
    speakers: speakerChoiceAvailable() ? of('audiooutput') : [],
  };
}

export function speakerChoiceAvailable(): boolean {
  return 'setSinkId' in HTMLMediaElement.prototype;
}

/** `version` changes when labels may have become readable, after a permission was given. */
export function useDevices(version: unknown): Devices {
  const [devices, setDevices] = useState<Devices>(NONE);
  // `version` is the trigger, not an input.
  useEffect(() => {
    let current = true;
    const refresh = (): void => {
      void listDevices().then((found) => current && setDevices(found));
    };
    refresh();
    const media = navigator.mediaDevices;
    media?.addEventListener?.('devicechange', refresh);
    return () => {
      current = false;
      media?.removeEventListener?.('devicechange', refresh);
    };
  }, [version]);
  return devices;
}
