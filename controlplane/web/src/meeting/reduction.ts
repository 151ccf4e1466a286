// Why a video is less than it could be: the server's answer about one's own media, and what a tile says of it. Pure.

import { t } from '../strings';

export type Reason =
  | 'link_estimate'
  | 'publisher_sends_less'
  | 'client_asked_less'
  | 'priority'
  | 'admission'
  | 'codec_missing';

/** One track that is sent with less than there could be. */
export interface Reduction {
  readonly reason: Reason;
  /** With `codec_missing`: codecs this browser would have to decode one of. */
  readonly codecs: readonly string[];
  /** Answers in a row that gave this reason. */
  readonly seen: number;
}

/** By track id. */
export type Reductions = ReadonlyMap<string, Reduction>;

/** What a tile shows in a corner. */
export interface Badge {
  readonly reason: Reason;
  readonly text: string;
  /** What can be done about it. */
  readonly advice: string;
}

const REASONS: ReadonlySet<string> = new Set<Reason>([
  'link_estimate',
  'publisher_sends_less',
  'client_asked_less',
  'priority',
  'admission',
  'codec_missing',
]);
/** From this size on a tile is large: whoever looks at it expects a sharp picture. */
const LARGE_WIDTH = 640;
/** A reason that one answer gives and the next does not is not worth a word: layers switch while a link is measured. */
const SEEN_MIN = 2;

/** The reasons of an answer of the media endpoint; what is unknown in it is left out. */
export function reductionsOf(answer: unknown, before: Reductions): Reductions {
  const received = property(answer, 'receives');
  const reductions = new Map<string, Reduction>();
  for (const track of Array.isArray(received) ? received : []) {
    const [id, reason, codecs] = ['track_id', 'reason', 'missing_codecs'].map((name) =>
      property(track, name),
    );
    if (typeof id !== 'string' || !isReason(reason)) continue;
    const last = before.get(id);
    reductions.set(id, {
      reason,
      codecs: Array.isArray(codecs) ? codecs.filter((codec) => typeof codec === 'string') : [],
      seen: last?.reason === reason ? last.seen + 1 : 1,
    });
  }
  return reductions;
}

/** What a tile of this size says about its video; nothing when that would be noise. */
export function badgeOf(
  reduction: Reduction | undefined,
  tile: { readonly width: number; readonly kind: 'camera' | 'screen' },
): Badge | undefined {
  if (!reduction) return undefined;
  const { reason, codecs, seen } = reduction;
  const words = t.meeting.reduced;
  // Without a picture there is nothing to wait for.
  if (reason === 'codec_missing') {
    return { reason, text: words.codec(codecs.join(', ')), advice: words.codecAdvice };
  }
  if (seen < SEEN_MIN) return undefined;
  switch (reason) {
    case 'link_estimate':
      return { reason, text: words.link, advice: words.linkAdvice };
    case 'publisher_sends_less': {
      const text = tile.kind === 'screen' ? words.screen : words.camera;
      return { reason, text, advice: words.cameraAdvice };
    }
    case 'priority':
      return { reason, text: words.priority, advice: words.priorityAdvice };
    case 'client_asked_less':
      return tile.width >= LARGE_WIDTH ? { reason, text: words.asked, advice: words.askedAdvice } : undefined;
    case 'admission':
      return undefined;
  }
}

function isReason(value: unknown): value is Reason {
  return typeof value === 'string' && REASONS.has(value);
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
