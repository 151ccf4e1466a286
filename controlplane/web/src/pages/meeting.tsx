// The meeting: tiles, controls, and what must be said on top of them. Loaded as its own chunk, with livekit-client.

import { useCallback, useEffect, useState } from 'preact/hooks';
import type { Admission } from '../api';
import { readMeeting } from '../api';
import type { AppState } from '../app';
import type { GoneReason } from '../gone';
import { meetingPath } from '../links';
import type { Acquired } from '../media/acquire';
import { ControlBar } from '../meeting/control-bar';
import { useReductions } from '../meeting/media-watch';
import type { Snapshot } from '../meeting/model';
import { useArrivals, useNotices } from '../meeting/notices';
import { PeoplePanel } from '../meeting/people-panel';
import { MeetingSession } from '../meeting/session';
import { Sound } from '../meeting/sound';
import { Surface } from '../meeting/surface';
import { useWakeLock } from '../meeting/wake-lock';
import type { Preferences } from '../preferences';
import { t } from '../strings';
import { Banner } from '../ui/banner';
import { Brand } from '../ui/brand';
import { Button } from '../ui/button';
import { CopyLink, copyText } from '../ui/copy-link';
import { DevicesForm } from '../ui/devices-form';
import { Dialog } from '../ui/dialog';
import { Icon } from '../ui/icon';
import type { Visit } from '../walk-in';
import '../styles/meeting.css';

/** The door into this chunk. */
export function enterMeeting(
  visit: Visit,
  admission: Admission,
  preferences: Preferences,
  devices: Promise<Acquired>,
): Promise<MeetingSession> {
  return MeetingSession.open(visit, admission, preferences, devices);
}

interface MeetingPageProps {
  readonly session: MeetingSession;
  readonly onGone: (session: MeetingSession, reason: GoneReason) => void;
  readonly onState: (state: AppState) => void;
}

export function MeetingPage({ session, onGone, onState }: MeetingPageProps) {
  const snapshot = useSnapshot(session);
  const topic = useTopic(session);
  const reductions = useReductions(session);
  const { notices, notify } = useNotices();
  const [panel, setPanel] = useState(false);
  const [settings, setSettings] = useState(false);
  const [preferences, setPreferences] = useState(session.preferences);
  const url = location.origin + meetingPath(session.visit.number);
  const me = snapshot.people[0];
  const alone =
    snapshot.tiles.length === 1 && snapshot.connection === 'connected' && !panel && !snapshot.soundBlocked;
  useArrivals(snapshot, notify);
  useWakeLock();

  useEffect(() => {
    session.listen({
      onGone: (reason) => onGone(session, reason),
      onDeviceFault: (kind, fault) => {
        const advice = kind === 'screen' ? undefined : t.faults[kind][fault];
        notify(advice ? `${advice.title}. ${advice.remedy}` : t.meeting.screenFailed, 'error');
      },
    });
  }, [session, onGone, notify]);
  useEffect(() => {
    onState(snapshot.connection);
  }, [snapshot.connection, onState]);
  useEffect(() => {
    document.title = `${topic || t.meeting.untitled} · kaigi`;
  }, [topic]);

  const copyLink = useCallback(() => {
    void copyText(url).then((done) =>
      notify(done ? t.meeting.linkCopied : t.meeting.copyFailed, done ? 'info' : 'error'),
    );
  }, [url, notify]);

  return (
    <div class="meeting" data-testid="meeting" data-panel={panel ? 'open' : 'closed'}>
      <header class="meeting-head">
        <Brand />
        <h1 class="meeting-topic" data-testid="meeting-topic">
          {topic || t.meeting.untitled}
        </h1>
        <span class="meeting-count" data-testid="participant-count" data-count={snapshot.people.length}>
          <Icon name="people" size={16} />
          {t.meeting.count(snapshot.people.length)}
        </span>
      </header>
      <main class="meeting-main">
        <Surface tiles={snapshot.tiles} reductions={reductions} />
        {alone && <Alone url={url} />}
        {panel && <PeoplePanel people={snapshot.people} url={url} onClose={() => setPanel(false)} />}
      </main>
      <div class="overlays">
        {snapshot.connection === 'reconnecting' && (
          <Banner
            tone="warning"
            testId="reconnecting-banner"
            advice={{ title: t.meeting.reconnecting, remedy: t.meeting.reconnectingDetail }}
          />
        )}
        {snapshot.soundBlocked && (
          <Banner
            tone="info"
            icon="sound"
            testId="sound-banner"
            advice={{ title: t.meeting.soundOff, remedy: t.meeting.enableSoundDetail }}
          >
            <Button
              look="primary"
              icon="sound"
              testId="enable-sound-button"
              onClick={() => void session.enableSound()}
            >
              {t.meeting.enableSound}
            </Button>
          </Banner>
        )}
      </div>
      <div class="notices" role="status" aria-live="polite" data-testid="notices">
        {notices.map((notice) => (
          <p key={notice.id} class={`notice notice-${notice.tone}`}>
            {notice.text}
          </p>
        ))}
      </div>
      <ControlBar
        session={session}
        me={me}
        count={snapshot.people.length}
        peopleShown={panel}
        onPeople={() => setPanel((before) => !before)}
        onSettings={() => setSettings(true)}
        onCopyLink={copyLink}
      />
      <Sound tracks={snapshot.audio} />
      {settings && (
        <Dialog title={t.door.settings} testId="settings-dialog" onClose={() => setSettings(false)}>
          <DevicesForm
            preferences={preferences}
            version={`${me?.cameraOn} ${me?.microphoneOn}`}
            onChange={(change) => {
              setPreferences((before) => ({ ...before, ...change }));
              void session.change(change);
            }}
          />
        </Dialog>
      )}
    </div>
  );
}

function Alone({ url }: { url: string }) {
  return (
    <div class="alone card" data-testid="alone">
      <h2>{t.meeting.aloneTitle}</h2>
      <p>{t.meeting.alone}</p>
      <CopyLink url={url} />
    </div>
  );
}

function useSnapshot(session: MeetingSession): Snapshot {
  const [snapshot, setSnapshot] = useState(session.model.snapshot);
  useEffect(() => {
    setSnapshot(session.model.snapshot);
    return session.model.subscribe(() => setSnapshot(session.model.snapshot));
  }, [session]);
  return snapshot;
}

/** The topic is an ornament: a meeting without one works as well. */
function useTopic(session: MeetingSession): string {
  const [topic, setTopic] = useState('');
  useEffect(() => {
    const abort = new AbortController();
    readMeeting(session.visit.number, abort.signal).then(
      (meeting) => setTopic(meeting.topic),
      () => undefined,
    );
    return () => abort.abort();
  }, [session]);
  return topic;
}
