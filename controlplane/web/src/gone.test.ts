import { describe, expect, it } from 'vitest';
import { comebackDelayS, comesBackByItself } from './gone';

describe('after the meeting', () => {
  it('only a lost connection brings people back by itself', () => {
    expect(comesBackByItself('lost')).toBe(true);
    for (const reason of ['left', 'removed', 'ended', 'elsewhere'] as const)
      expect(comesBackByItself(reason)).toBe(false);
  });

  it('pauses grow, up to a quarter of a minute', () => {
    expect([0, 1, 2, 3, 4, 20].map(comebackDelayS)).toEqual([1, 2, 4, 8, 15, 15]);
  });
});
