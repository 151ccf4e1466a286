import { describe, expect, it } from 'vitest';
import { parseQuery } from './query';

describe('query options', () => {
  it('are all absent in a plain address', () => {
    expect(parseQuery('')).toEqual({ autojoin: false });
  });

  it('let a test walk in without a click', () => {
    expect(parseQuery('?name=Ada%20L&autojoin=1&capture=320x180@15&mic=0&camera=1&lang=ja')).toEqual({
      name: 'Ada L',
      autojoin: true,
      capture: { width: 320, height: 180, framesPerSecond: 15 },
      microphone: false,
      camera: true,
      language: 'ja',
    });
  });

  it('that make no sense are ignored', () => {
    expect(parseQuery('?name=%20&capture=huge&autojoin=0')).toEqual({ autojoin: false });
  });
});
