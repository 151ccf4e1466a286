import { describe, expect, it } from 'vitest';
import { isPassing, ProblemError, problemOf, problemOfAnswer } from './problems';
import { en } from './strings/en';
import { ja } from './strings/ja';

describe('problems', () => {
  it('keep the words of a problem document', () => {
    const body = {
      type: 'https://kaigi/problems/meeting-not-found',
      title: 'Unknown meeting',
      detail: 'No meeting 7.',
      status: 404,
    };
    expect(problemOfAnswer(404, body)).toEqual({
      kind: 'meeting-unknown',
      status: 404,
      slug: 'meeting-not-found',
      title: 'Unknown meeting',
      detail: 'No meeting 7.',
    });
  });

  it.each([
    [400, undefined, 'invalid'],
    [401, '/problems/token-required', 'account-needed'],
    [401, '/problems/token-invalid', 'unauthorized'],
    [403, undefined, 'forbidden'],
    [403, '/problems/wrong-passcode', 'passcode'],
    [403, '/problems/meeting-locked', 'meeting-locked'],
    [404, undefined, 'meeting-unknown'],
    [409, '/problems/meeting-full', 'meeting-full'],
    [410, undefined, 'meeting-ended'],
    [413, undefined, 'invalid'],
    [422, '/problems/unknown-field', 'invalid'],
    [429, undefined, 'too-many'],
    [500, undefined, 'unexpected'],
    [502, undefined, 'unreachable'],
    [503, '/problems/draining', 'draining'],
    [503, '/problems/busy', 'too-many'],
    [503, '/problems/storage-failed', 'unexpected'],
  ])('name status %i with type %s as %s', (status, type, kind) => {
    expect(problemOfAnswer(status, { type }).kind).toBe(kind);
  });

  it.each([undefined, null, 'text', 7, [], { title: 5, detail: {}, type: 'about:blank' }])(
    'survive the body %j',
    (body) => {
      expect(problemOfAnswer(500, body)).toEqual({ kind: 'unexpected', status: 500 });
    },
  );

  it('name the fields that cannot be taken', () => {
    const errors = [{ pointer: '/topic', detail: 'is too long' }, { pointer: 7 }, null, 'x'];
    expect(problemOfAnswer(422, { detail: 'One field.', errors }).detail).toBe(
      'One field. /topic: is too long',
    );
  });

  it('read how long to wait', () => {
    expect(problemOfAnswer(429, {}, '12').retryAfterS).toBe(12);
    expect(problemOfAnswer(429, {}, 'Wed, 21 Oct 2026 07:28:00 GMT').retryAfterS).toBeUndefined();
  });

  it('are made of anything thrown', () => {
    expect(problemOf(new ProblemError({ kind: 'draining' })).kind).toBe('draining');
    expect(problemOf(new Error('boom'))).toEqual({ kind: 'unexpected', detail: 'boom' });
    expect(problemOf('boom').detail).toBe('boom');
  });

  it('pass by themselves only when the server may change its mind', () => {
    expect(isPassing({ kind: 'unreachable' })).toBe(true);
    expect(isPassing({ kind: 'meeting-ended' })).toBe(false);
  });

  it('each have a title and a remedy in every language', () => {
    for (const strings of [en, ja]) {
      for (const advice of Object.values(strings.problems)) {
        expect(advice.title.length).toBeGreaterThan(0);
        expect(advice.remedy.length).toBeGreaterThan(0);
      }
    }
  });
});
