// One tile: a participant's video or initials, or a shared screen, with name, sound and connection.

import type { Track } from 'livekit-client';
import { useEffect, useRef, useState } from 'preact/hooks';
import { markOnce } from '../marks';
import { t } from '../strings';
import { Icon } from '../ui/icon';
import { hue, initials } from './face';
import type { Rect } from './layout';
import type { Quality, TileView } from './model';
import { type Badge, badgeOf, type Reduction } from './reduction';

interface TileProps {
  readonly view: TileView;
  readonly rect: Rect;
  readonly staged: boolean;
  readonly reduction: Reduction | undefined;
  /** Whether pinning makes sense: there is more than one tile. */
  readonly pinnable: boolean;
  readonly pinned: boolean;
  readonly onPin: (key: string | undefined) => void;
}

export function Tile({ view, rect, staged, reduction, pinnable, pinned, onPin }: TileProps) {
  const { person, kind, video } = view;
  const name = displayName(view);
  const [showing, setShowing] = useState(false);
  const small = rect.width < 180 || rect.height < 150;
  const badge = badgeOf(reduction, { width: rect.width, kind });
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset groups form controls; this groups a picture and its name.
    <div
      class={`tile${staged ? ' tile-staged' : ''}${small ? ' tile-small' : ''}`}
      data-testid="tile"
      data-identity={person.identity}
      data-name={person.name}
      data-kind={kind}
      data-local={person.local ? 'true' : 'false'}
      data-muted={person.microphoneOn ? 'false' : 'true'}
      data-video={video ? (showing ? 'on' : 'starting') : 'off'}
      data-speaking={person.speaking ? 'true' : 'false'}
      role="group"
      aria-label={describe(view, name, badge)}
      style={{
        transform: `translate(${rect.x}px, ${rect.y}px)`,
        width: `${rect.width}px`,
        height: `${rect.height}px`,
        '--face-hue': String(hue(person.identity)),
      }}
    >
      {kind === 'camera' && <Face name={person.name} size={Math.min(rect.width, rect.height)} />}
      {video && (
        <Picture
          track={video}
          mirrored={person.local && kind === 'camera'}
          remote={!person.local}
          showing={showing}
          onShowing={setShowing}
        />
      )}
      {kind === 'screen' && person.local && <OwnScreen />}
      {view.paused ? (
        <p class="tile-paused" data-testid="tile-reason" data-reason={reduction?.reason ?? 'link_estimate'}>
          {t.meeting.paused}
        </p>
      ) : (
        badge && <Why badge={badge} />
      )}
      <div class="tile-label">
        {kind === 'camera' && !person.microphoneOn && (
          <span class="tile-muted" title={t.meeting.muted} data-testid="muted-indicator">
            <Icon name="microphone-off" size={15} />
          </span>
        )}
        {kind === 'screen' && <Icon name="screen" size={15} />}
        <span class="tile-name">{name}</span>
        {kind === 'camera' && <Bars quality={person.quality} />}
      </div>
      {pinnable && (
        <button
          type="button"
          class="tile-pin icon-button"
          aria-pressed={pinned ? 'true' : 'false'}
          aria-label={`${t.meeting.pin}: ${name}`}
          title={pinned ? t.meeting.unpin : t.meeting.pin}
          data-testid="pin-button"
          onClick={() => onPin(pinned ? undefined : view.key)}
        >
          <Icon name="pin" size={17} />
        </button>
      )}
      <span class="tile-ring" aria-hidden="true" />
    </div>
  );
}

/** Why the picture is less than it could be. The tile's own label says it to screen readers. */
function Why({ badge }: { badge: Badge }) {
  return (
    <p
      class="tile-reason"
      title={`${badge.text}. ${badge.advice}`}
      aria-hidden="true"
      data-testid="tile-reason"
      data-reason={badge.reason}
    >
      <Icon name={badge.reason === 'codec_missing' ? 'warning' : 'info'} size={14} />
      <span class="tile-reason-text">{badge.text}</span>
    </p>
  );
}

interface PictureProps {
  readonly track: Track;
  readonly mirrored: boolean;
  readonly remote: boolean;
  readonly showing: boolean;
  readonly onShowing: (showing: boolean) => void;
}

/** The video element appears with its first frame, so that nobody sees a black box. */
function Picture({ track, mirrored, remote, showing, onShowing }: PictureProps) {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    const shown = (): void => {
      if (remote) markOnce('kaigi:first-frame');
      onShowing(true);
    };
    let request: number | undefined;
    if ('requestVideoFrameCallback' in element) request = element.requestVideoFrameCallback(shown);
    else (element as HTMLVideoElement).addEventListener('loadeddata', shown, { once: true });
    track.attach(element);
    return () => {
      if (request !== undefined) element.cancelVideoFrameCallback(request);
      else element.removeEventListener('loadeddata', shown);
      track.detach(element);
      onShowing(false);
    };
  }, [track, remote, onShowing]);
  return (
    <video
      ref={video}
      class={`tile-video${mirrored ? ' mirrored' : ''}${showing ? ' showing' : ''}`}
      autoplay
      playsInline
      muted
    />
  );
}

function Face({ name, size }: { name: string; size: number }) {
  const diameter = Math.max(36, Math.min(128, Math.round(size * 0.38)));
  return (
    <span
      class="tile-face"
      aria-hidden="true"
      style={{
        width: `${diameter}px`,
        height: `${diameter}px`,
        fontSize: `${Math.round(diameter * 0.38)}px`,
      }}
    >
      {initials(name || t.meeting.guest)}
    </span>
  );
}

/** One's own screen, seen inside itself, would be a hall of mirrors: words stand in front of it. */
function OwnScreen() {
  return (
    <div class="own-screen">
      <Icon name="screen" size={32} />
      <p>{t.meeting.youShare}</p>
      <p class="own-screen-small">{t.meeting.sharedToAll}</p>
    </div>
  );
}

const BARS: Record<Exclude<Quality, 'unknown'>, number> = { excellent: 3, good: 2, poor: 1, lost: 0 };

function Bars({ quality }: { quality: Quality }) {
  if (quality === 'unknown') return null;
  const words = t.meeting.quality[quality];
  return (
    <span class={`bars bars-${quality}`} role="img" aria-label={words} title={words} data-quality={quality}>
      {[1, 2, 3].map((bar) => (
        <span key={bar} class={bar <= BARS[quality] ? 'bar-on' : ''} />
      ))}
    </span>
  );
}

function displayName({ person, kind }: TileView): string {
  const name = person.name || t.meeting.guest;
  if (kind === 'screen') return person.local ? t.meeting.yourScreen : t.meeting.screenOf(name);
  return person.local ? `${name} ${t.meeting.youSuffix}` : name;
}

function describe({ person, kind, video, paused }: TileView, name: string, badge: Badge | undefined): string {
  const facts = [name];
  if (kind === 'camera') {
    if (!person.microphoneOn) facts.push(t.meeting.muted);
    if (!video && !badge) facts.push(t.meeting.cameraIsOff);
  }
  if (paused) facts.push(t.meeting.paused);
  else if (badge) facts.push(badge.text);
  return facts.join(', ');
}
