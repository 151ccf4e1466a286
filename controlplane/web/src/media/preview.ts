// The devices at the door: opened on arrival, switched and exchanged there, then handed to the meeting.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { formatCapture } from '../capture';
import type { Preferences } from '../preferences';
import { type Acquired, acquire, type MediaKind, stopTracks } from './acquire';
import type { MediaFault } from './faults';

export interface Preview {
  readonly microphone: MediaStreamTrack | undefined;
  readonly camera: MediaStreamTrack | undefined;
  readonly faults: Readonly<Partial<Record<MediaKind, MediaFault>>>;
  readonly starting: boolean;
  /** Opens again what failed. */
  readonly retry: () => void;
  /** Hands the devices over, also those that are still starting: from here on the receiver closes them. */
  readonly handOver: () => Promise<Acquired>;
  /** Takes them back after a join that failed. */
  readonly takeBack: () => void;
}

const NOTHING: Acquired = { faults: {} };

export function usePreview(preferences: Preferences): Preview {
  const { microphone, camera, microphoneId, cameraId, capture } = preferences;
  const [held, setHeld] = useState<Acquired>(NOTHING);
  const [starting, setStarting] = useState(microphone || camera);
  const [round, setRound] = useState(0);
  const open = useRef<Acquired>(NOTHING);
  const pending = useRef<Promise<Acquired>>(Promise.resolve(NOTHING));
  const handedOver = useRef(false);
  const unmounted = useRef(false);
  /** What the open tracks were opened with, to see which of the two must be opened anew. */
  const openedWith = useRef<Record<MediaKind, string>>({ microphone: '', camera: '' });

  const size = formatCapture(capture);
  // `size` stands for `capture`, `round` for a retry.
  useEffect(() => {
    let current = true;
    const wanted: Record<MediaKind, string> = {
      microphone: microphone ? `on ${microphoneId ?? ''} ${round}` : '',
      camera: camera ? `on ${cameraId ?? ''} ${size} ${round}` : '',
    };
    const keep = (kind: MediaKind): boolean =>
      wanted[kind] !== '' &&
      wanted[kind] === openedWith.current[kind] &&
      open.current[kind]?.readyState === 'live';
    const kept = { microphone: keep('microphone'), camera: keep('camera') };
    const before = open.current;
    if (!kept.microphone) before.microphone?.stop();
    if (!kept.camera) before.camera?.stop();
    const base = subset(before, kept);
    open.current = base;
    setHeld(base);
    const need = { microphone: microphone && !kept.microphone, camera: camera && !kept.camera };
    setStarting(need.microphone || need.camera);
    pending.current = acquire({ ...need, capture, microphoneId, cameraId }).then((acquired) => {
      if (!current && !handedOver.current) {
        stopTracks(acquired);
        return NOTHING;
      }
      open.current = { ...base, ...acquired, faults: { ...base.faults, ...acquired.faults } };
      openedWith.current = wanted;
      if (current) {
        setHeld(open.current);
        setStarting(false);
      }
      return open.current;
    });
    return () => {
      current = false;
    };
  }, [microphone, camera, microphoneId, cameraId, size, round]);

  useEffect(
    () => () => {
      unmounted.current = true;
      if (!handedOver.current) stopTracks(open.current);
    },
    [],
  );

  const retry = useCallback(() => setRound((before) => before + 1), []);
  const handOver = useCallback(() => {
    handedOver.current = true;
    // The faults were shown at the door.
    return pending.current.then((acquired) => ({ ...acquired, faults: {} }));
  }, []);
  const takeBack = useCallback(() => {
    handedOver.current = false;
    if (unmounted.current) stopTracks(open.current);
  }, []);
  return {
    microphone: held.microphone,
    camera: held.camera,
    faults: held.faults,
    starting,
    retry,
    handOver,
    takeBack,
  };
}

function subset(acquired: Acquired, keep: Record<MediaKind, boolean>): Acquired {
  return {
    ...(keep.microphone && acquired.microphone ? { microphone: acquired.microphone } : {}),
    ...(keep.camera && acquired.camera ? { camera: acquired.camera } : {}),
    faults: {},
  };
}
