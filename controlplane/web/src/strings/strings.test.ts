import { describe, expect, it } from 'vitest';
import { chooseStrings } from '.';
import { en } from './en';
import { ja } from './ja';

describe('language', () => {
  it('is the first one preferred that we speak', () => {
    expect(chooseStrings(['fi-FI', 'ja-JP', 'en'])).toBe(ja);
    expect(chooseStrings(['EN-gb', 'ja'])).toBe(en);
    expect(chooseStrings(['fi'])).toBe(en);
    expect(chooseStrings([])).toBe(en);
  });

  it('says the same things in Japanese as in English', () => {
    expect(shape(ja)).toEqual(shape(en));
  });
});

/** The keys and kinds of a tree of texts, without the texts. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.length;
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shape(inner)]));
}
