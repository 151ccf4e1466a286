import { describe, expect, it } from 'vitest';
import { orderTiles } from './order';

const NOBODY = new Set<string>();
const NEVER = new Map<string, number>();

describe('order of tiles', () => {
  it('keeps everybody in place when somebody comes or goes', () => {
    expect(orderTiles(['me', 'a', 'b', 'c'], ['c', 'b', 'me', 'd'], NOBODY, NEVER, 9, 1)).toEqual([
      'me',
      'b',
      'c',
      'd',
    ]);
  });

  it('does not move a speaker who is already seen', () => {
    expect(orderTiles(['me', 'a', 'b'], ['me', 'a', 'b'], new Set(['b']), NEVER, 3, 1)).toEqual([
      'me',
      'a',
      'b',
    ]);
  });

  it('brings a speaker forward in exchange for who was silent longest', () => {
    const spokeAt = new Map([
      ['a', 10],
      ['b', 5],
    ]);
    expect(
      orderTiles(['me', 'a', 'b', 'c', 'd'], ['me', 'a', 'b', 'c', 'd'], new Set(['d']), spokeAt, 3, 1),
    ).toEqual(['me', 'a', 'd', 'c', 'b']);
  });

  it('never gives away the first place or that of another speaker', () => {
    const order = orderTiles(
      ['me', 'a', 'b', 'c'],
      ['me', 'a', 'b', 'c'],
      new Set(['a', 'b', 'c']),
      NEVER,
      2,
      1,
    );
    expect(order).toEqual(['me', 'a', 'b', 'c']);
  });

  it('holds each key once, whatever happens', () => {
    const keys = Array.from({ length: 30 }, (_, index) => `p${index}`);
    const order = orderTiles(keys, keys, new Set(keys.slice(20)), NEVER, 9, 1);
    expect([...order].sort()).toEqual([...keys].sort());
    expect(order[0]).toBe('p0');
  });
});
