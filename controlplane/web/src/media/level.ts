// How loud the microphone is, for the meter at the door.

import { useEffect, useState } from 'preact/hooks';

/** Steps the meter shows; fewer renders than a continuous value. */
export const LEVEL_STEPS = 5;
const INTERVAL_MS = 100;

/** 0 to LEVEL_STEPS. */
export function useLevel(track: MediaStreamTrack | undefined): number {
  const [level, setLevel] = useState(0);
  useEffect(() => {
    if (!track || typeof AudioContext === 'undefined') return;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    const source = context.createMediaStreamSource(new MediaStream([track]));
    source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      setLevel(levelStep(Math.sqrt(sum / samples.length)));
    }, INTERVAL_MS);
    return () => {
      clearInterval(timer);
      source.disconnect();
      void context.close();
      setLevel(0);
    };
  }, [track]);
  return level;
}

/** Root mean square (0 to 1) to a step: -50 dB is silence, -15 dB is loud speech. */
export function levelStep(rms: number): number {
  if (rms <= 0) return 0;
  const decibel = 20 * Math.log10(rms);
  return Math.max(0, Math.min(LEVEL_STEPS, Math.round(((decibel + 50) / 35) * LEVEL_STEPS)));
}
