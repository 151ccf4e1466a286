// Problems: every failure a person can meet, as data. RFC 9457 documents become these; `strings` gives them words.

/** What went wrong, in the product's terms. */
export type ProblemKind =
  | 'unreachable'
  | 'draining'
  | 'meeting-unknown'
  | 'meeting-ended'
  | 'meeting-locked'
  | 'meeting-full'
  | 'passcode'
  | 'waiting-room'
  | 'account-needed'
  | 'credentials'
  | 'code'
  | 'link-dead'
  | 'set-up'
  | 'not-admin'
  | 'account-disabled'
  | 'provider-away'
  | 'provider-refused'
  | 'provider-token'
  | 'provider-address'
  | 'provider-taken'
  | 'provider-unknown'
  | 'sign-in-expired'
  | 'unauthorized'
  | 'forbidden'
  | 'too-many'
  | 'invalid'
  | 'media-path'
  | 'unexpected';

export interface Problem {
  readonly kind: ProblemKind;
  /** HTTP status, when there was an answer. */
  readonly status?: number;
  /** Last part of the problem document's `type`, stable for scripts and tests. */
  readonly slug?: string;
  /** The server's own words. */
  readonly title?: string;
  readonly detail?: string;
  /** From `Retry-After`, in seconds. */
  readonly retryAfterS?: number;
}

/** An error that carries its problem. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail ?? problem.title ?? problem.kind);
    this.name = 'ProblemError';
  }
}

/** Turns an answer that is not a success into a problem; a body that is no problem document is fine too. */
export function problemOfAnswer(status: number, body: unknown, retryAfter: string | null = null): Problem {
  const document = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const slug = slugOf(document.type);
  const title = text(document.title);
  const words = text(document.detail) ?? '';
  const detail = [words, ...fieldFaults(document.errors, words)].filter(Boolean).join(' ');
  const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
  return {
    kind: kindOf(status, slug),
    status,
    ...(slug ? { slug } : {}),
    ...(title ? { title } : {}),
    ...(detail && detail !== title ? { detail } : {}),
    ...(Number.isFinite(seconds) && seconds >= 0 ? { retryAfterS: seconds } : {}),
  };
}

/** Whatever was thrown, as a problem. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  const detail = error instanceof Error ? error.message : String(error);
  return { kind: 'unexpected', ...(detail ? { detail } : {}) };
}

/** Trying again without changing anything may help. */
export function isPassing(problem: Problem): boolean {
  return ['unreachable', 'draining', 'too-many', 'media-path', 'unexpected'].includes(problem.kind);
}

const BY_SLUG: Readonly<Record<string, ProblemKind>> = {
  'token-required': 'account-needed',
  'credentials-wrong': 'credentials',
  'password-wrong': 'credentials',
  'totp-required': 'code',
  'totp-wrong': 'code',
  'link-dead': 'link-dead',
  'already-set-up': 'set-up',
  'not-admin': 'not-admin',
  'account-disabled': 'account-disabled',
  'provider-unreachable': 'provider-away',
  'provider-refused': 'provider-refused',
  'provider-token-invalid': 'provider-token',
  'provider-address': 'provider-address',
  'provider-address-taken': 'provider-taken',
  'provider-unknown-user': 'provider-unknown',
  'sign-in-expired': 'sign-in-expired',
  busy: 'too-many',
  'storage-failed': 'unexpected',
};

function kindOf(status: number, slug: string | undefined): ProblemKind {
  if (slug?.includes('passcode')) return 'passcode';
  if (slug?.includes('locked')) return 'meeting-locked';
  if (slug?.includes('full') || slug?.includes('capacity')) return 'meeting-full';
  if (slug?.includes('drain')) return 'draining';
  const known = slug && BY_SLUG[slug];
  if (known) return known;
  switch (status) {
    case 401:
      return 'unauthorized';
    case 403:
      return 'forbidden';
    case 404:
      return 'meeting-unknown';
    case 410:
      return 'meeting-ended';
    case 429:
      return 'too-many';
    case 400:
    case 409:
    case 413:
    case 422:
      return 'invalid';
    case 503:
      return 'draining';
    case 502:
    case 504:
      return 'unreachable';
    default:
      return 'unexpected';
  }
}

/** The member `errors` of a 422: what is wrong with each field that the detail does not name already. */
function fieldFaults(errors: unknown, said: string): string[] {
  if (!Array.isArray(errors)) return [];
  return errors.flatMap((error: unknown) => {
    if (typeof error !== 'object' || error === null) return [];
    const pointer = text((error as Record<string, unknown>).pointer);
    const detail = text((error as Record<string, unknown>).detail);
    return pointer && detail && !said.includes(pointer) ? [`${pointer}: ${detail}`] : [];
  });
}

function slugOf(type: unknown): string | undefined {
  if (typeof type !== 'string' || type === 'about:blank') return undefined;
  const last = type.split(/[/#]/).pop();
  return last || undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() ? value.trim() : undefined;
}
