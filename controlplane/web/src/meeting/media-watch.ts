// Asks the server, while the page is seen, why the videos of this meeting are less than they could be.

import { RoomEvent } from 'livekit-client';
import { useEffect, useState } from 'preact/hooks';
import { readMedia } from '../api';
import { type Reductions, reductionsOf } from './reduction';
import type { MeetingSession } from './session';

const NOTHING: Reductions = new Map();
const PAUSE_MS = 2_500;
/** After an answer that did not come: badges are an ornament, a server in trouble has better things to do. */
const PAUSE_AFTER_FAILURE_MS = 15_000;

export function useReductions(session: MeetingSession): Reductions {
  const [reductions, setReductions] = useState(NOTHING);
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let asking = false;
    let latest = NOTHING;

    const ask = async (): Promise<void> => {
      clearTimeout(timer);
      if (asking || abort.signal.aborted || document.visibilityState !== 'visible') return;
      asking = true;
      const answer = await readMedia(
        session.visit.number,
        session.room.localParticipant.identity,
        session.pass,
        abort.signal,
      ).catch(() => undefined);
      asking = false;
      if (abort.signal.aborted) return;
      const now = answer === undefined ? NOTHING : reductionsOf(answer, latest);
      // Nothing is drawn anew for the same words.
      if (!same(now, latest)) setReductions(now);
      latest = now;
      timer = setTimeout(askSoon, answer === undefined ? PAUSE_AFTER_FAILURE_MS : PAUSE_MS);
    };
    const askSoon = (): void => void ask();

    document.addEventListener('visibilitychange', askSoon);
    session.room.on(RoomEvent.TrackStreamStateChanged, askSoon);
    session.room.on(RoomEvent.TrackSubscriptionFailed, askSoon);
    timer = setTimeout(askSoon, PAUSE_MS);
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', askSoon);
      session.room.off(RoomEvent.TrackStreamStateChanged, askSoon);
      session.room.off(RoomEvent.TrackSubscriptionFailed, askSoon);
    };
  }, [session]);
  return reductions;
}

function same(a: Reductions, b: Reductions): boolean {
  if (a.size !== b.size) return false;
  for (const [id, { reason, seen }] of a) {
    const other = b.get(id);
    // Beyond the second answer in a row nothing changes on the screen.
    if (other?.reason !== reason || (other.seen !== seen && other.seen < 2)) return false;
  }
  return true;
}
