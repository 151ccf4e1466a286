// The control bar: what one does in a meeting, with a letter for each.

import { useState } from 'preact/hooks';
import { screenShareAvailable } from '../media/acquire';
import { t } from '../strings';
import { Control } from '../ui/button';
import type { Person } from './model';
import type { MeetingSession } from './session';
import { useShortcuts } from './shortcuts';

interface ControlBarProps {
  readonly session: MeetingSession;
  readonly me: Person | undefined;
  readonly count: number;
  readonly peopleShown: boolean;
  readonly onPeople: () => void;
  readonly onSettings: () => void;
  readonly onCopyLink: () => void;
}

export function ControlBar({
  session,
  me,
  count,
  peopleShown,
  onPeople,
  onSettings,
  onCopyLink,
}: ControlBarProps) {
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const microphoneOn = me?.microphoneOn ?? false;
  const cameraOn = me?.cameraOn ?? false;
  const sharing = me?.sharing ?? false;
  const canShare = screenShareAvailable();

  /** One change of a device at a time: a second click while it starts is ignored. */
  const once = (what: string, act: () => Promise<void>) => () => {
    if (busy.has(what)) return;
    setBusy((before) => new Set(before).add(what));
    void act().finally(() =>
      setBusy((before) => {
        const after = new Set(before);
        after.delete(what);
        return after;
      }),
    );
  };
  const toggleMicrophone = once('microphone', () => session.setMicrophone(!microphoneOn));
  const toggleCamera = once('camera', () => session.setCamera(!cameraOn));
  const toggleScreen = once('screen', () => session.setScreen(!sharing));
  useShortcuts({
    m: toggleMicrophone,
    v: toggleCamera,
    ...(canShare ? { s: toggleScreen } : {}),
    p: onPeople,
    l: onCopyLink,
  });

  return (
    <nav class="control-bar" aria-label={t.meeting.controls}>
      <div class="control-group control-group-side">
        <Control
          icon="link"
          label={t.meeting.copyLink}
          tip={t.meeting.copyLink}
          shortcut="L"
          testId="copy-link-button"
          onClick={onCopyLink}
        />
      </div>
      <div class="control-group">
        <Control
          icon={microphoneOn ? 'microphone' : 'microphone-off'}
          label={t.meeting.microphone}
          tip={microphoneOn ? t.meeting.mute : t.meeting.unmute}
          shortcut="M"
          testId="mic-button"
          pressed={microphoneOn}
          tone={microphoneOn ? 'normal' : 'off'}
          busy={busy.has('microphone')}
          onClick={toggleMicrophone}
        />
        <Control
          icon={cameraOn ? 'camera' : 'camera-off'}
          label={t.meeting.camera}
          tip={cameraOn ? t.meeting.cameraOff : t.meeting.cameraOn}
          shortcut="V"
          testId="camera-button"
          pressed={cameraOn}
          tone={cameraOn ? 'normal' : 'off'}
          busy={busy.has('camera')}
          onClick={toggleCamera}
        />
        <Control
          icon={sharing ? 'screen-off' : 'screen'}
          label={t.meeting.screen}
          tip={canShare ? (sharing ? t.meeting.screenOff : t.meeting.screenOn) : t.meeting.screenUnsupported}
          {...(canShare ? { shortcut: 'S' } : {})}
          testId="screen-button"
          pressed={sharing}
          tone={sharing ? 'active' : 'normal'}
          busy={busy.has('screen')}
          disabled={!canShare}
          onClick={toggleScreen}
        />
        <Control
          icon="leave"
          label={t.meeting.leave}
          tip={t.meeting.leave}
          testId="leave-button"
          tone="danger"
          text={t.meeting.leave}
          onClick={() => void session.leave()}
        />
      </div>
      <div class="control-group control-group-side control-group-end">
        <Control
          icon="people"
          label={`${t.meeting.people}: ${t.meeting.count(count)}`}
          tip={t.meeting.people}
          shortcut="P"
          testId="people-button"
          pressed={peopleShown}
          badge={String(count)}
          onClick={onPeople}
        />
        <Control
          icon="settings"
          label={t.meeting.settings}
          tip={t.meeting.settings}
          testId="settings-button"
          onClick={onSettings}
        />
      </div>
    </nav>
  );
}
