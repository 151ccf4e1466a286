import { describe, expect, it } from 'vitest';
import { faultOf } from './faults';
import { LEVEL_STEPS, levelStep } from './level';

describe('device faults', () => {
  it.each([
    ['NotAllowedError', 'refused'],
    ['SecurityError', 'refused'],
    ['NotFoundError', 'absent'],
    ['NotReadableError', 'busy'],
    ['AbortError', 'busy'],
    ['OverconstrainedError', 'failed'],
  ])('%s means %s', (name, fault) => {
    expect(faultOf(Object.assign(new Error(name), { name }))).toBe(fault);
  });

  it('of an unknown kind are still faults', () => {
    expect(faultOf('what')).toBe('failed');
  });
});

describe('microphone level', () => {
  it('is empty in silence, full at loud speech, and never leaves the meter', () => {
    expect(levelStep(0)).toBe(0);
    expect(levelStep(0.0001)).toBe(0);
    expect(levelStep(0.2)).toBe(LEVEL_STEPS);
    expect(levelStep(1)).toBe(LEVEL_STEPS);
  });
});
