// Walking in: admission, media connection and own devices at the same time, whichever way somebody comes
// (from the door, by `?autojoin=1`, after a reload, or back after a lost connection).

import { joinMeeting } from './api';
import type { MeetingNumber } from './links';
import { markJoinClick } from './marks';
import { type Acquired, acquire, stopTracks } from './media/acquire';
import type { MeetingSession } from './meeting/session';
import type { Preferences } from './preferences';
import { ProblemError } from './problems';

export interface Visit {
  readonly number: MeetingNumber;
  readonly name: string;
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly passcode?: string;
  /** Devices opened at the door. Without them they are opened while connecting. */
  readonly opened?: Promise<Acquired>;
}

/** The meeting page and livekit-client: one chunk, loaded while a person is still at the door. */
export async function loadMeetingChunk(): Promise<typeof import('./pages/meeting')> {
  try {
    return await import('./pages/meeting');
  } catch {
    // The server was upgraded since this page was loaded: its files have new names.
    if (await pageIsStale()) location.reload();
    throw new ProblemError({ kind: 'unreachable' });
  }
}

/** True when the server now names another script than the one that runs here. Then a reload helps, and only once. */
async function pageIsStale(): Promise<boolean> {
  const running = document.querySelector<HTMLScriptElement>('script[type=module][src]');
  if (!running) return false;
  try {
    const answer = await fetch('/', { cache: 'no-store' });
    return answer.ok && !(await answer.text()).includes(new URL(running.src).pathname);
  } catch {
    return false;
  }
}

/** Throws a ProblemError; devices opened here are closed again then, devices opened at the door stay open. */
export async function walkIn(visit: Visit, preferences: Preferences): Promise<MeetingSession> {
  markJoinClick();
  const devices = visit.opened ?? acquire({ ...preferences, ...wish(visit) });
  try {
    const [chunk, admission] = await Promise.all([
      loadMeetingChunk(),
      joinMeeting(visit.number, visit.name, visit.passcode),
    ]);
    return await chunk.enterMeeting(visit, admission, preferences, devices);
  } catch (error) {
    if (!visit.opened) void devices.then(stopTracks);
    throw error;
  }
}

function wish(visit: Visit): { microphone: boolean; camera: boolean } {
  return { microphone: visit.microphone, camera: visit.camera };
}
