// The sound of the meeting: one hidden audio element per remote track, apart from the tiles, so that paging never mutes anybody.

import type { Track } from 'livekit-client';
import { useEffect, useRef } from 'preact/hooks';

export function Sound({ tracks }: { tracks: readonly Track[] }) {
  return (
    <div hidden data-testid="sound">
      {tracks.map((track) => (
        <Voice key={track.sid} track={track} />
      ))}
    </div>
  );
}

function Voice({ track }: { track: Track }) {
  const element = useRef<HTMLAudioElement>(null);
  useEffect(() => {
    const audio = element.current;
    if (!audio) return;
    track.attach(audio);
    return () => {
      track.detach(audio);
    };
  }, [track]);
  return (
    // biome-ignore lint/a11y/useMediaCaption: live speech has no caption track.
    <audio ref={element} autoplay />
  );
}
