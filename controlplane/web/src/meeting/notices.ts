// Short notices at the edge of the meeting: who came and went, what was copied, what failed.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { t } from '../strings';
import type { Snapshot } from './model';

export interface Notice {
  readonly id: number;
  readonly text: string;
  readonly tone: 'info' | 'error';
}

const SHOWN_MS = { info: 3500, error: 8000 } as const;
/** More would hide the meeting. */
const NOTICES_MAX = 3;

export function useNotices(): {
  notices: readonly Notice[];
  notify: (text: string, tone?: Notice['tone']) => void;
} {
  const [notices, setNotices] = useState<readonly Notice[]>([]);
  const next = useRef(0);
  const timers = useRef(new Set<ReturnType<typeof setTimeout>>());
  useEffect(
    () => () => {
      for (const timer of timers.current) clearTimeout(timer);
    },
    [],
  );
  const notify = useCallback((text: string, tone: Notice['tone'] = 'info') => {
    const id = next.current++;
    // Saying the same thing again only makes it last longer.
    setNotices((before) =>
      [...before.filter((notice) => notice.text !== text), { id, text, tone }].slice(-NOTICES_MAX),
    );
    const timer = setTimeout(() => {
      timers.current.delete(timer);
      setNotices((before) => before.filter((notice) => notice.id !== id));
    }, SHOWN_MS[tone]);
    timers.current.add(timer);
  }, []);
  return { notices, notify };
}

/** Says who came, who left and who shares; silent for those who were there before. */
export function useArrivals(snapshot: Snapshot, notify: (text: string) => void): void {
  const known = useRef<Map<string, { name: string; sharing: boolean }> | undefined>(undefined);
  useEffect(() => {
    // While reconnecting everybody seems to leave and return.
    if (snapshot.connection !== 'connected') return;
    const now = new Map(
      snapshot.people
        .filter((person) => !person.local)
        .map((person) => [person.key, { name: person.name || t.meeting.guest, sharing: person.sharing }]),
    );
    const before = known.current;
    known.current = now;
    if (!before) return;
    for (const [key, { name, sharing }] of now) {
      const old = before.get(key);
      if (!old) notify(t.meeting.joined(name));
      if (sharing && !old?.sharing) notify(t.meeting.startedSharing(name));
    }
    for (const [key, { name }] of before) if (!now.has(key)) notify(t.meeting.gone(name));
  }, [snapshot, notify]);
}
