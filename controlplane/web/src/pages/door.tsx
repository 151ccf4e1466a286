// The door of a meeting: see and hear yourself, choose devices and a name, then walk in.

import { useEffect, useRef, useState } from 'preact/hooks';
import { readMeeting } from '../api';
import { type MeetingNumber, meetingPath } from '../links';
import { LEVEL_STEPS, useLevel } from '../media/level';
import { type Preview, usePreview } from '../media/preview';
import { initials } from '../meeting/face';
import type { Preferences } from '../preferences';
import { type Problem, problemOf } from '../problems';
import type { Query } from '../query';
import { t } from '../strings';
import { Banner, ProblemBanner, ServerWords } from '../ui/banner';
import { Brand } from '../ui/brand';
import { Button, Control } from '../ui/button';
import { CopyLink } from '../ui/copy-link';
import { DevicesForm } from '../ui/devices-form';
import { TextField } from '../ui/field';
import { Icon } from '../ui/icon';
import { loadMeetingChunk, type Visit } from '../walk-in';

interface DoorPageProps {
  readonly number: MeetingNumber;
  /** The person has just created it. */
  readonly created: boolean;
  readonly problem: Problem | undefined;
  readonly preferences: Preferences;
  readonly query: Query;
  readonly onChange: (change: Partial<Preferences>) => void;
  readonly onJoin: (visit: Visit) => Promise<Problem | undefined>;
  readonly onHome: () => void;
}

const LOOK_AGAIN_MS = 3000;

export function DoorPage(props: DoorPageProps) {
  const { number, created, preferences, onChange, onJoin, onHome } = props;
  const meeting = useMeeting(number);
  const [problem, setProblem] = useState<Problem | undefined>(props.problem);
  const final = finalProblem(meeting.problem) ?? finalProblem(problem);

  useEffect(() => {
    // livekit-client loads while the person looks into the camera.
    loadMeetingChunk().catch(() => undefined);
  }, []);
  useEffect(() => {
    document.title = `${meeting.topic || t.door.title} · kaigi`;
  }, [meeting.topic]);

  if (final) return <ClosedDoor problem={final} onHome={onHome} />;
  return (
    <div class="page door">
      <header class="start-head">
        <Brand onClick={onHome} />
      </header>
      <OpenDoor
        topic={meeting.topic}
        looking={meeting.looking}
        created={created}
        number={number}
        preferences={preferences}
        problem={problem ?? meeting.problem}
        retrying={!problem && meeting.problem !== undefined}
        onChange={onChange}
        onJoin={async (visit) => {
          setProblem(undefined);
          const found = await onJoin(visit);
          setProblem(found);
          return found;
        }}
      />
    </div>
  );
}

interface OpenDoorProps {
  readonly topic: string;
  readonly looking: boolean;
  readonly created: boolean;
  readonly number: MeetingNumber;
  readonly preferences: Preferences;
  readonly problem: Problem | undefined;
  readonly retrying: boolean;
  readonly onChange: (change: Partial<Preferences>) => void;
  readonly onJoin: (visit: Visit) => Promise<Problem | undefined>;
}

function OpenDoor(props: OpenDoorProps) {
  const { topic, looking, created, number, preferences, problem, retrying, onChange, onJoin } = props;
  const { name, microphone, camera } = preferences;
  const preview = usePreview(preferences);
  const [passcode, setPasscode] = useState('');
  const [asked, setAsked] = useState(false);
  const [joining, setJoining] = useState(false);
  useEffect(() => {
    if (problem?.kind === 'passcode') setAsked(true);
  }, [problem]);

  const [nameFault, setNameFault] = useState(false);
  const join = async (): Promise<void> => {
    const trimmed = name.trim();
    setNameFault(!trimmed);
    if (!trimmed) return;
    setJoining(true);
    const opened = preview.handOver();
    const visit = { number, name: trimmed, microphone, camera, opened, ...(passcode ? { passcode } : {}) };
    const failed = await onJoin(visit);
    if (!failed) return;
    preview.takeBack();
    setJoining(false);
  };
  const sends = (microphone && !preview.faults.microphone) || (camera && !preview.faults.camera);

  return (
    <main class="door-main">
      <section class="door-look" aria-label={t.door.preview}>
        <PreviewPicture
          preview={preview}
          name={name}
          camera={camera}
          microphone={microphone}
          onChange={onChange}
        />
        <DeviceFaults preview={preview} microphone={microphone} camera={camera} />
        <details class="door-devices">
          <summary data-testid="devices-toggle">
            <Icon name="settings" size={18} />
            {t.door.settings}
          </summary>
          <DevicesForm preferences={preferences} version={preview.starting} onChange={onChange} />
        </details>
      </section>
      <section class="card door-card">
        <div>
          <p class="door-topic" data-testid="meeting-topic">
            {topic || (looking ? t.door.checking : t.meeting.untitled)}
          </p>
          <h1>{created ? t.door.titleNew : t.door.title}</h1>
        </div>
        {problem && problem.kind !== 'passcode' && (
          <ProblemBanner problem={problem} note={retrying ? t.door.retrying : undefined} />
        )}
        <form
          class="stack"
          data-testid="join-form"
          onSubmit={(event) => {
            event.preventDefault();
            void join();
          }}
        >
          <TextField
            label={t.door.name}
            placeholder={t.start.namePlaceholder}
            value={name}
            onInput={(value) => {
              onChange({ name: value });
              setNameFault(false);
            }}
            fault={nameFault ? t.door.nameMissing : undefined}
            autocomplete="name"
            maxLength={80}
            autofocus={!name}
            testId="name-input"
          />
          {asked && (
            <TextField
              label={t.door.passcode}
              value={passcode}
              onInput={setPasscode}
              fault={problem?.kind === 'passcode' ? t.problems.passcode.remedy : undefined}
              maxLength={64}
              testId="passcode-input"
            />
          )}
          <Button look="primary" type="submit" wide busy={joining} testId="join-button">
            {joining ? t.door.joining : sends ? t.door.join : t.door.joinMuted}
          </Button>
        </form>
        <div class="door-share">
          <p class="label">{t.door.share}</p>
          <CopyLink url={location.origin + meetingPath(number)} />
        </div>
      </section>
    </main>
  );
}

interface PreviewPictureProps {
  readonly preview: Preview;
  readonly name: string;
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly onChange: (change: Partial<Preferences>) => void;
}

function PreviewPicture({ preview, name, microphone, camera, onChange }: PreviewPictureProps) {
  const video = useRef<HTMLVideoElement>(null);
  const microphoneLive = microphone && preview.microphone !== undefined;
  const cameraLive = camera && preview.camera !== undefined;
  useEffect(() => {
    if (video.current) video.current.srcObject = preview.camera ? new MediaStream([preview.camera]) : null;
  }, [preview.camera]);
  return (
    <div class="preview" data-testid="preview" data-camera={cameraLive ? 'on' : 'off'}>
      <video
        ref={video}
        class="mirrored"
        autoplay
        playsInline
        muted
        hidden={!cameraLive}
        aria-label={t.door.preview}
      />
      {!cameraLive && (
        <div class="preview-empty">
          <span class="preview-face">
            {name.trim() ? initials(name) : <Icon name="camera-off" size={34} />}
          </span>
          <p>{camera && preview.starting ? t.door.cameraStarting : t.door.cameraOff}</p>
        </div>
      )}
      <Level track={microphoneLive ? preview.microphone : undefined} />
      <div class="preview-controls">
        <Control
          icon={microphoneLive ? 'microphone' : 'microphone-off'}
          label={t.meeting.microphone}
          tip={microphone ? t.meeting.mute : t.meeting.unmute}
          pressed={microphone}
          tone={microphoneLive ? 'normal' : 'off'}
          testId="mic-button"
          onClick={() => onChange({ microphone: !microphone })}
        />
        <Control
          icon={cameraLive ? 'camera' : 'camera-off'}
          label={t.meeting.camera}
          tip={camera ? t.meeting.cameraOff : t.meeting.cameraOn}
          pressed={camera}
          tone={cameraLive ? 'normal' : 'off'}
          testId="camera-button"
          onClick={() => onChange({ camera: !camera })}
        />
      </div>
    </div>
  );
}

function Level({ track }: { track: MediaStreamTrack | undefined }) {
  const level = useLevel(track);
  if (!track) return null;
  return (
    <div class="level" role="img" aria-label={t.door.level} data-testid="level" data-level={level}>
      {Array.from({ length: LEVEL_STEPS }, (_, step) => (
        <span key={step} class={step < level ? 'level-on' : ''} />
      ))}
    </div>
  );
}

/** One banner when both failed for the same reason, else one for each. */
function DeviceFaults({
  preview,
  microphone,
  camera,
}: {
  preview: Preview;
  microphone: boolean;
  camera: boolean;
}) {
  const cameraFault = camera ? preview.faults.camera : undefined;
  const microphoneFault = microphone ? preview.faults.microphone : undefined;
  const insecure = cameraFault === 'insecure' || microphoneFault === 'insecure';
  if (insecure) {
    return <Banner tone="warning" testId="device-fault" slug="insecure" advice={t.faults.camera.insecure} />;
  }
  const again = (
    <Button look="quiet" testId="retry-devices" onClick={preview.retry}>
      {t.door.tryAgain}
    </Button>
  );
  return (
    <>
      {cameraFault && (
        <Banner
          tone="warning"
          testId="device-fault"
          slug={`camera-${cameraFault}`}
          advice={t.faults.camera[cameraFault]}
        >
          {again}
        </Banner>
      )}
      {microphoneFault && (
        <Banner
          tone="warning"
          testId="device-fault"
          slug={`microphone-${microphoneFault}`}
          advice={t.faults.microphone[microphoneFault]}
        >
          {again}
        </Banner>
      )}
    </>
  );
}

function ClosedDoor({ problem, onHome }: { problem: Problem; onHome: () => void }) {
  const advice = t.problems[problem.kind];
  return (
    <main class="page centered">
      <div class="notice-card" data-testid="error-banner" data-problem={problem.kind} role="alert">
        <Brand onClick={onHome} />
        <span class="notice-icon">
          <Icon name="info" size={28} />
        </span>
        <h1>{advice.title}</h1>
        <p class="notice-text">{advice.remedy}</p>
        <ServerWords problem={problem} />
        <div class="notice-actions">
          <Button look="primary" testId="home-button" onClick={onHome}>
            {t.door.home}
          </Button>
        </div>
      </div>
    </main>
  );
}

interface MeetingLook {
  readonly topic: string;
  readonly looking: boolean;
  readonly problem: Problem | undefined;
}

/** What the server says about the meeting. While the server is away it is asked again and again. */
function useMeeting(number: MeetingNumber): MeetingLook {
  const [look, setLook] = useState<MeetingLook>({ topic: '', looking: true, problem: undefined });
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      try {
        const { topic, ended } = await readMeeting(number, abort.signal);
        const problem: Problem | undefined = ended ? { kind: 'meeting-ended' } : undefined;
        setLook({ topic, looking: false, problem });
      } catch (error) {
        if (abort.signal.aborted) return;
        const problem = problemOf(error);
        const away = problem.kind === 'unreachable' || problem.kind === 'draining';
        // Whoever may not read it may still join: only what closes the door counts here.
        const counts = away || finalProblem(problem) !== undefined;
        setLook((before) => ({ ...before, looking: away, problem: counts ? problem : undefined }));
        if (away) timer = setTimeout(() => void ask(), LOOK_AGAIN_MS);
      }
    };
    void ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [number]);
  return look;
}

/** Problems that no second try solves. */
function finalProblem(problem: Problem | undefined): Problem | undefined {
  return problem?.kind === 'meeting-unknown' || problem?.kind === 'meeting-ended' ? problem : undefined;
}
