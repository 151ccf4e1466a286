import { describe, expect, it } from 'vitest';
import { bitrateBps, CAPTURE_SIZES, formatCapture, parseCapture } from './capture';

describe('capture size', () => {
  it.each(CAPTURE_SIZES.map(formatCapture))('%s survives being written and read', (text) => {
    const size = parseCapture(text);
    expect(size && formatCapture(size)).toBe(text);
  });

  it.each([
    undefined,
    null,
    '',
    '320x180',
    '0x0@15',
    '99999x10@30',
    '320x180@0',
    '320x180@500',
    '320×180@15',
    'x@',
  ])('%j is no size', (text) => {
    expect(parseCapture(text)).toBeUndefined();
  });

  it('costs more bits when it is larger, and 1.7 Mbit/s in high definition', () => {
    const rates = CAPTURE_SIZES.map(bitrateBps);
    expect(rates).toEqual([...rates].sort((a, b) => a - b));
    expect(rates.at(-1)).toBe(1_700_000);
  });
});
