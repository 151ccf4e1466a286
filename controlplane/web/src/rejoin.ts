// What a tab remembers so that a reload in the middle of a meeting walks straight back in.

import type { MeetingNumber } from './links';

export interface Rejoin {
  readonly number: MeetingNumber;
  readonly name: string;
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly passcode?: string;
}

const KEY = 'kaigi.meeting';

export function rememberMeeting(meeting: Rejoin): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(meeting));
  } catch {
    // Without storage a reload shows the door again, which still works.
  }
}

export function forgetMeeting(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was stored.
  }
}

/** The meeting this tab was in, if it is the one the address names. */
export function rememberedMeeting(number: MeetingNumber): Rejoin | undefined {
  let stored: unknown;
  try {
    stored = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
  } catch {
    return undefined;
  }
  return isRejoin(stored) && stored.number === number ? stored : undefined;
}

function isRejoin(value: unknown): value is Rejoin {
  if (typeof value !== 'object' || value === null) return false;
  const { number, name, microphone, camera, passcode } = value as Record<string, unknown>;
  return (
    typeof number === 'string' &&
    typeof name === 'string' &&
    typeof microphone === 'boolean' &&
    typeof camera === 'boolean' &&
    (passcode === undefined || typeof passcode === 'string')
  );
}
