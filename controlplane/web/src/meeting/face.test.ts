import { describe, expect, it } from 'vitest';
import { hue, initials } from './face';

describe('a face without video', () => {
  it.each([
    ['Ada Lovelace', 'AL'],
    ['ada', 'A'],
    ['Jean  Marie van Damme', 'JD'],
    ['田中 花子', '田花'],
    ['山田', '山'],
    ['👩‍🚀 Crew', '👩‍🚀C'],
    ['', '?'],
    ['   ', '?'],
  ])('of %j shows %s', (name, expected) => {
    expect(initials(name)).toBe(expected);
  });

  it('has the same colour everywhere and different ones for neighbours', () => {
    expect(hue('participant_1')).toBe(hue('participant_1'));
    const hues = Array.from({ length: 8 }, (_, index) => hue(`participant_${index}`));
    expect(new Set(hues).size).toBeGreaterThanOrEqual(4);
    for (const value of hues) expect(value).toBeLessThan(360 + 12);
  });
});
