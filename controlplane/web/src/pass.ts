// The pass of this tab: the session token of the meeting it was in last. Shown again at the next join, it makes a reload, a
// return after leaving and a return after a lost connection the same participant. It ends with the tab.

import type { MeetingNumber } from './links';

const KEY = 'kaigi.pass';

interface Pass {
  readonly number: MeetingNumber;
  readonly token: string;
}

export function keepPass(number: MeetingNumber, token: string): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ number, token } satisfies Pass));
  } catch {
    // Without storage a return is somebody new, which still works.
  }
}

export function passFor(number: MeetingNumber): string | undefined {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
    if (typeof stored !== 'object' || stored === null) return undefined;
    const { number: kept, token } = stored as Record<string, unknown>;
    return kept === number && typeof token === 'string' ? token : undefined;
  } catch {
    return undefined;
  }
}
