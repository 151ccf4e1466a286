// The HTTP API, as far as the client needs it. Every failure is a ProblemError.

import { type MeetingNumber, meetingId, meetingNumber } from './links';
import { keepPass, passFor } from './pass';
import { type Problem, ProblemError, problemOfAnswer } from './problems';

export interface Created {
  readonly number: MeetingNumber;
  readonly joinUrl: string;
}

export interface Meeting {
  readonly topic: string;
  readonly ended: boolean;
}

/** What a LiveKit client's `connect(url, token)` takes. */
export interface Admission {
  readonly mediaServerUrl: string;
  readonly sessionToken: string;
}

const BASE = '/api/v1';
/** Longer than any healthy answer; a server that takes this long is away. */
const ANSWER_TIMEOUT_MS = 15_000;
/** A new meeting's planned length. It is a plan: nothing stops when it is over. */
const DURATION_MINUTES = 60;

export async function createMeeting(topic: string): Promise<Created> {
  const answer = await request('POST', '/meetings', {
    topic,
    start_time: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
    duration: DURATION_MINUTES,
    recording_enabled: false,
  });
  const number = meetingNumber(field(answer, 'id'));
  if (!number) throw unexpected('The meeting id has an unknown form.');
  return { number, joinUrl: field(answer, 'join_url') };
}

export async function readMeeting(number: MeetingNumber, signal?: AbortSignal): Promise<Meeting> {
  const answer = await request('GET', `/meetings/${meetingId(number)}`, undefined, { signal });
  return { topic: optionalField(answer, 'topic') ?? '', ended: optionalField(answer, 'status') === 'ended' };
}

/** Joins, as the same participant as before if this tab was in the meeting already. */
export async function joinMeeting(
  number: MeetingNumber,
  name: string,
  passcode?: string,
): Promise<Admission> {
  const ask = (pass?: string) =>
    request(
      'POST',
      `/meetings/${meetingId(number)}/join`,
      { ...(name ? { name } : {}), ...(passcode ? { passcode } : {}) },
      { pass },
    );
  const pass = passFor(number);
  const answer = await ask(pass).catch((error: unknown) => {
    // Expired, or from before the server's keys changed: come in as somebody new.
    if (pass && error instanceof ProblemError && error.problem.status === 401) return ask();
    throw error;
  });
  if (optionalField(answer, 'status') === 'waiting')
    throw new ProblemError({ kind: 'waiting-room', status: 202 });
  const sessionToken = field(answer, 'session_token');
  keepPass(number, sessionToken);
  return { mediaServerUrl: field(answer, 'media_server_url'), sessionToken };
}

/** What one participant of a meeting is sent, and why it is not more; as the server says it. */
export async function readMedia(
  number: MeetingNumber,
  identity: string,
  pass: string,
  signal?: AbortSignal,
): Promise<unknown> {
  const path = `/meetings/${meetingId(number)}/participants/${encodeURIComponent(identity)}/media`;
  return request('GET', path, undefined, { signal, pass });
}

/** One call of the API. An answer without a body is an empty object. */
export async function request(
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  body?: Record<string, unknown>,
  { signal, pass }: { signal?: AbortSignal | undefined; pass?: string | undefined } = {},
): Promise<Record<string, unknown>> {
  const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  let response: Response;
  let parsed: unknown;
  try {
    // What OAuth names is at the root.
    response = await fetch(path.startsWith('/oauth/') ? path : BASE + path, {
      method,
      headers: {
        accept: 'application/json, application/problem+json',
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...(pass ? { authorization: `Bearer ${pass}` } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      cache: 'no-store',
    });
    parsed = await response.json().catch(() => undefined);
  } catch {
    throw new ProblemError({ kind: 'unreachable' });
  }
  if (!response.ok) {
    throw new ProblemError(problemOfAnswer(response.status, parsed, response.headers.get('retry-after')));
  }
  if (response.status === 204) return {};
  if (typeof parsed !== 'object' || parsed === null) throw unexpected('The answer is not JSON.');
  return parsed as Record<string, unknown>;
}

export function field(answer: Record<string, unknown>, name: string): string {
  const value = answer[name];
  if (typeof value !== 'string' || !value) throw unexpected(`The answer has no ${name}.`);
  return value;
}

export function optionalField(answer: Record<string, unknown>, name: string): string | undefined {
  const value = answer[name];
  return typeof value === 'string' ? value : undefined;
}

function unexpected(detail: string): ProblemError {
  const problem: Problem = { kind: 'unexpected', detail };
  return new ProblemError(problem);
}
