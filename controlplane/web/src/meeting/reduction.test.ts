import { describe, expect, it } from 'vitest';
import { t } from '../strings';
import { badgeOf, type Reduction, reductionsOf } from './reduction';

const NONE = new Map<string, Reduction>();
const camera = (width: number) => ({ width, kind: 'camera' as const });

function answer(...receives: unknown[]): unknown {
  return { participant_id: 'user_1', receives, publishes: [] };
}

function reduced(reason: Reduction['reason'], seen = 2, codecs: string[] = []): Reduction {
  return { reason, codecs, seen };
}

describe('reasons of reduced video', () => {
  it('are read by track, and only those there are', () => {
    const reductions = reductionsOf(
      answer(
        { track_id: 'TR_a', reason: 'link_estimate' },
        { track_id: 'TR_b', reason: null },
        { track_id: 'TR_c', reason: 'codec_missing', missing_codecs: ['AV1', 7] },
      ),
      NONE,
    );
    expect([...reductions.keys()]).toEqual(['TR_a', 'TR_c']);
    expect(reductions.get('TR_c')?.codecs).toEqual(['AV1']);
  });

  it('survive whatever a server answers', () => {
    const odd = [
      undefined,
      null,
      'x',
      {},
      answer(null, 1, { track_id: 5 }, { track_id: 'TR_a', reason: 'new' }),
    ];
    for (const one of odd) expect(reductionsOf(one, NONE).size).toBe(0);
  });

  it('count how often in a row they were given', () => {
    const slow = answer({ track_id: 'TR_a', reason: 'link_estimate' });
    const first = reductionsOf(slow, NONE);
    const second = reductionsOf(slow, first);
    expect([first, second].map((r) => r.get('TR_a')?.seen)).toEqual([1, 2]);
    const other = reductionsOf(answer({ track_id: 'TR_a', reason: 'priority' }), second);
    expect(other.get('TR_a')?.seen).toBe(1);
  });
});

describe('the badge of a tile', () => {
  it('says why in words, with what can be done', () => {
    const badge = badgeOf(reduced('link_estimate'), camera(300));
    expect(badge?.text).toBe(t.meeting.reduced.link);
    expect(badge?.advice.length).toBeGreaterThan(10);
    expect(badgeOf(reduced('publisher_sends_less'), { width: 300, kind: 'screen' })?.text).toBe(
      t.meeting.reduced.screen,
    );
  });

  it('waits until a reason has lasted, except when there is no picture at all', () => {
    expect(badgeOf(reduced('priority', 1), camera(900))).toBeUndefined();
    expect(badgeOf(reduced('codec_missing', 1, ['AV1']), camera(200))?.text).toContain('AV1');
  });

  it('does not explain that a small tile is small', () => {
    expect(badgeOf(reduced('client_asked_less'), camera(320))).toBeUndefined();
    expect(badgeOf(reduced('client_asked_less'), camera(1000))).toBeDefined();
    expect(badgeOf(reduced('admission'), camera(1000))).toBeUndefined();
    expect(badgeOf(undefined, camera(1000))).toBeUndefined();
  });
});
