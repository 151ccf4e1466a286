// Why a participant is no longer in a meeting, as the person sees it.

export type GoneReason = 'left' | 'lost' | 'removed' | 'ended' | 'elsewhere';

/** Coming back without being asked makes sense only when nobody decided that we leave. */
export function comesBackByItself(reason: GoneReason): boolean {
  return reason === 'lost';
}

/** Seconds to wait before attempt `attempt` (0-based) to come back: 1, 2, 4, 8, 15, 15, … */
export function comebackDelayS(attempt: number): number {
  return Math.min(15, 2 ** attempt);
}

/** About ten minutes of attempts. */
export const COMEBACK_ATTEMPTS = 40;
