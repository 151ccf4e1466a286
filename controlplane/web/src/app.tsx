// The application: which page is shown, and the ways between them.

import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { CAPTURE_DEFAULT } from './capture';
import { comesBackByItself, type GoneReason } from './gone';
import { type MeetingNumber, meetingPath, numberOfPath } from './links';
import type { MeetingSession } from './meeting/session';
import { DoorPage } from './pages/door';
import { GonePage } from './pages/gone';
import { StartPage } from './pages/start';
import { WalkingIn } from './pages/walking-in';
import { loadPreferences, type Preferences, savePreferences } from './preferences';
import { type Problem, problemOf } from './problems';
import type { Query } from './query';
import { rememberedMeeting } from './rejoin';
import { type Visit, walkIn } from './walk-in';

/** `data-state` on the root element: what tests and styles go by. */
export type AppState = 'idle' | 'prejoin' | 'connecting' | 'connected' | 'reconnecting' | 'disconnected';

type Screen =
  | { readonly page: 'start' }
  | {
      readonly page: 'door';
      readonly number: MeetingNumber;
      readonly created: boolean;
      readonly problem?: Problem;
    }
  | { readonly page: 'walking-in'; readonly visit: Visit }
  | { readonly page: 'meeting'; readonly session: MeetingSession; readonly Page: MeetingPage }
  | { readonly page: 'gone'; readonly visit: Visit; readonly reason: GoneReason; readonly problem?: Problem };

type MeetingPage = typeof import('./pages/meeting').MeetingPage;

export function App({ root, query }: { root: HTMLElement; query: Query }) {
  const [preferences, setPreferences] = useState<Preferences>(() => withQuery(loadPreferences(), query));
  const [screen, setScreen] = useState<Screen>(() => firstScreen(preferences, query));
  const [busy, setBusy] = useState(false);
  const latest = useRef(screen);
  latest.current = screen;

  const setState = useCallback(
    (state: AppState) => {
      root.dataset.state = state;
    },
    [root],
  );

  const change = useCallback((changed: Partial<Preferences>) => {
    savePreferences(changed);
    setPreferences((before) => ({ ...before, ...changed }));
  }, []);

  const enter = useCallback(
    async (visit: Visit): Promise<Problem | undefined> => {
      setBusy(true);
      setState('connecting');
      const from = latest.current;
      try {
        const [session, { MeetingPage }] = await Promise.all([
          walkIn(visit, preferences),
          import('./pages/meeting'),
        ]);
        // Whoever went elsewhere meanwhile does not want to be pulled in.
        if (latest.current === from) setScreen({ page: 'meeting', session, Page: MeetingPage });
        else await session.leave();
        return undefined;
      } catch (error) {
        return problemOf(error);
      } finally {
        setBusy(false);
      }
    },
    [preferences, setState],
  );

  const goTo = useCallback((next: Screen, path: string) => {
    history.pushState(null, '', path + location.search);
    setScreen(next);
  }, []);
  const goHome = useCallback(() => goTo({ page: 'start' }, '/'), [goTo]);

  useEffect(() => {
    const onPopState = (): void => {
      const { current } = latest;
      if (current.page === 'meeting') void current.session.leave();
      const number = numberOfPath(location.pathname);
      setScreen(number ? { page: 'door', number, created: false } : { page: 'start' });
    };
    addEventListener('popstate', onPopState);
    return () => removeEventListener('popstate', onPopState);
  }, []);

  // Somebody who walks in without a click: once, when that screen is first shown.
  const walking = screen.page === 'walking-in' ? screen.visit : undefined;
  // A changed preference must not join a second time.
  useEffect(() => {
    if (!walking) return;
    void enter(walking).then((problem) => {
      if (!problem) return;
      const door: Screen = { page: 'door', number: walking.number, created: false, problem };
      setScreen((now) => (now.page === 'walking-in' ? door : now));
    });
  }, [walking]);

  const state = stateOf(screen, busy);
  useEffect(() => {
    if (state) setState(state);
  }, [state, setState]);

  const gone = useMemo(
    () => (session: MeetingSession, reason: GoneReason) => {
      setPreferences(session.preferences);
      setScreen((now) =>
        now.page === 'meeting' && now.session === session
          ? { page: 'gone', visit: session.visit, reason }
          : now,
      );
    },
    [],
  );

  switch (screen.page) {
    case 'start':
      return (
        <StartPage
          preferences={preferences}
          onChange={change}
          onMeeting={(number, created) => goTo({ page: 'door', number, created }, meetingPath(number))}
        />
      );
    case 'door':
      return (
        <DoorPage
          key={screen.number}
          number={screen.number}
          created={screen.created}
          problem={screen.problem}
          preferences={preferences}
          query={query}
          onChange={change}
          onJoin={enter}
          onHome={goHome}
        />
      );
    case 'walking-in':
      return <WalkingIn />;
    case 'meeting':
      return (
        <screen.Page
          key={screen.session.visit.number}
          session={screen.session}
          onGone={gone}
          onState={setState}
        />
      );
    case 'gone':
      return (
        <GonePage
          reason={screen.reason}
          visit={screen.visit}
          comesBack={comesBackByItself(screen.reason)}
          onRejoin={async (visit) => {
            const problem = await enter(visit);
            if (problem) setState('disconnected');
            return problem;
          }}
          onHome={goHome}
        />
      );
  }
}

function firstScreen(preferences: Preferences, query: Query): Screen {
  const number = numberOfPath(location.pathname);
  if (!number) return { page: 'start' };
  const remembered = rememberedMeeting(number);
  if (remembered) return { page: 'walking-in', visit: remembered };
  if (!query.autojoin) return { page: 'door', number, created: false };
  const { name, microphone, camera } = preferences;
  return { page: 'walking-in', visit: { number, name, microphone, camera } };
}

/** The address overrules what was stored, for this page only. */
function withQuery(stored: Preferences, query: Query): Preferences {
  return {
    ...stored,
    name: query.name ?? stored.name,
    capture: query.capture ?? stored.capture ?? CAPTURE_DEFAULT,
    // A kiosk or a test must not depend on what somebody chose here before.
    microphone: query.microphone ?? (query.autojoin || stored.microphone),
    camera: query.camera ?? (query.autojoin || stored.camera),
  };
}

/** The meeting page reports its own state. */
function stateOf(screen: Screen, busy: boolean): AppState | undefined {
  switch (screen.page) {
    case 'start':
      return 'idle';
    case 'door':
      return busy ? 'connecting' : 'prejoin';
    case 'walking-in':
      return 'connecting';
    case 'meeting':
      return undefined;
    case 'gone':
      return busy ? 'connecting' : 'disconnected';
  }
}
