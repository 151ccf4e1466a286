// Capture size: how large and how often the camera is asked for pictures, written `320x180@15`.

export interface CaptureSize {
  readonly width: number;
  readonly height: number;
  readonly framesPerSecond: number;
}

export const CAPTURE_SIZES: readonly CaptureSize[] = [
  { width: 320, height: 180, framesPerSecond: 15 },
  { width: 640, height: 360, framesPerSecond: 30 },
  { width: 1280, height: 720, framesPerSecond: 30 },
];

export const CAPTURE_DEFAULT: CaptureSize = { width: 1280, height: 720, framesPerSecond: 30 };

export function formatCapture(size: CaptureSize): string {
  return `${size.width}x${size.height}@${size.framesPerSecond}`;
}

/** Reads `WIDTHxHEIGHT@FPS`; anything else, or a size no camera has, is undefined. */
export function parseCapture(text: string | null | undefined): CaptureSize | undefined {
  const match = /^(\d{2,4})x(\d{2,4})@(\d{1,3})$/.exec(text ?? '');
  if (!match) return undefined;
  const [width, height, framesPerSecond] = match.slice(1).map(Number) as [number, number, number];
  const plausible =
    width >= 64 &&
    width <= 4096 &&
    height >= 64 &&
    height <= 4096 &&
    framesPerSecond >= 1 &&
    framesPerSecond <= 120;
  return plausible ? { width, height, framesPerSecond } : undefined;
}

/**
 * Bit rate asked of the encoder for the largest layer, in bit/s.
 * 0.0615 bit per pixel gives 1.7 Mbit/s at 1280x720@30; small pictures need more per pixel, hence the power.
 */
export function bitrateBps(size: CaptureSize): number {
  const pixelsPerSecond = size.width * size.height * size.framesPerSecond;
  const reference = 1280 * 720 * 30;
  return Math.round((1_700_000 * (pixelsPerSecond / reference) ** 0.75) / 10_000) * 10_000;
}
