// The API of accounts, as far as its pages need it. Every failure is a ProblemError.

import { field, optionalField, request } from '../api';

export interface User {
  readonly id: string;
  readonly name: string;
  readonly email: string;
  readonly admin: boolean;
  readonly disabled: boolean;
  readonly hasPassword: boolean;
  readonly totp: boolean;
  readonly recoveryCodesLeft: number;
}

export interface Session {
  readonly id: string;
  readonly agent: string;
  readonly ip: string;
  readonly lastSeen: string;
  readonly current: boolean;
}

export interface AuditLine {
  readonly at: string;
  /** Empty for the operator, who has no address either, and for somebody who did not get in. */
  readonly actor: string;
  readonly action: string;
  /** Empty when it was done to nobody. */
  readonly target: string;
  readonly ip: string;
  readonly refused: boolean;
  /** How many such acts it stands for. */
  readonly count: number;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next?: string;
}

type Answer = Record<string, unknown>;

function userOf(answer: Answer): User {
  return {
    id: field(answer, 'id'),
    name: field(answer, 'name'),
    email: optionalField(answer, 'email') ?? '',
    admin: answer.role === 'admin',
    disabled: answer.disabled === true,
    hasPassword: answer.has_password === true,
    totp: answer.totp_enabled === true,
    recoveryCodesLeft: Number(answer.recovery_codes_left ?? 0),
  };
}

function pageOf<T>(answer: Answer, read: (item: Answer) => T): Page<T> {
  const items = Array.isArray(answer.items) ? (answer.items as Answer[]) : [];
  const next = optionalField(answer, 'next_cursor');
  return { items: items.map(read), ...(next ? { next } : {}) };
}

const query = (cursor?: string) => (cursor ? `?cursor=${encodeURIComponent(cursor)}` : '');

export const setUp = async (token: string, name: string, email: string, password: string): Promise<User> =>
  userOf(await request('POST', '/setup', { token, name, email, password }));

export const acceptInvitation = async (token: string, password: string): Promise<User> =>
  userOf(await request('POST', '/invitation', { token, password }));

export const signIn = async (email: string, password: string, code?: string): Promise<User> =>
  userOf(await request('POST', '/session', { email, password, ...(code ? { code } : {}) }));

/** The provider people may sign in by, if there is one. */
export async function readProvider(): Promise<{ name: string; url: string } | undefined> {
  const provider = (await request('GET', '/sign-in-options')).provider as Answer | null;
  return provider ? { name: field(provider, 'name'), url: field(provider, 'url') } : undefined;
}

export const signInCode = async (code: string): Promise<User> =>
  userOf(await request('POST', '/session/code', { code }));

export const signOut = async (): Promise<void> => void (await request('DELETE', '/session'));

export const readMe = async (): Promise<User> => userOf(await request('GET', '/users/me'));

export const changeMe = async (change: {
  name?: string;
  password?: string;
  current_password?: string;
}): Promise<User> => userOf(await request('PATCH', '/users/me', change));

export async function readSessions(): Promise<readonly Session[]> {
  const answer = await request('GET', '/users/me/sessions');
  return pageOf(answer, (item) => ({
    id: field(item, 'id'),
    agent: optionalField(item, 'user_agent') ?? '',
    ip: field(item, 'ip'),
    lastSeen: field(item, 'last_seen_at'),
    current: item.current === true,
  })).items;
}

export const endSession = async (id: string): Promise<void> =>
  void (await request('DELETE', `/users/me/sessions/${encodeURIComponent(id)}`));

export const beginTotp = async (): Promise<string> => field(await request('POST', '/users/me/totp'), 'uri');

export async function verifyTotp(code: string): Promise<readonly string[]> {
  const answer = await request('POST', '/users/me/totp/verify', { code });
  return Array.isArray(answer.recovery_codes) ? (answer.recovery_codes as string[]) : [];
}

export const removeTotp = async (code: string): Promise<void> =>
  void (await request('DELETE', '/users/me/totp', { code }));

export const readUsers = async (cursor?: string): Promise<Page<User>> =>
  pageOf(await request('GET', `/users${query(cursor)}`), userOf);

export const inviteUser = async (name: string, email: string): Promise<string> =>
  field(await request('POST', '/users', { name, email }), 'invitation_url');

export const inviteAgain = async (id: string): Promise<string> =>
  field(await request('POST', `/users/${encodeURIComponent(id)}/invitation`), 'invitation_url');

export const changeUser = async (
  id: string,
  change: { role?: 'admin' | 'user'; disabled?: boolean },
): Promise<User> => userOf(await request('PATCH', `/users/${encodeURIComponent(id)}`, change));

export async function readAudit(cursor?: string): Promise<Page<AuditLine>> {
  return pageOf(await request('GET', `/audit${query(cursor)}`), (item) => ({
    at: field(item, 'at'),
    actor: optionalField(item, 'actor') ?? '',
    action: field(item, 'action'),
    target: optionalField(item, 'target') ?? '',
    ip: optionalField(item, 'ip') ?? '',
    refused: item.outcome === 'refused',
    count: Number(item.count ?? 1),
  }));
}

export const resetTotp = async (id: string): Promise<User> =>
  userOf(await request('DELETE', `/users/${encodeURIComponent(id)}/totp`));

/** A program that may ask to act for people. */
export interface Client {
  readonly id: string;
  readonly name: string;
  readonly redirects: readonly string[];
}

const clientOf = (item: Answer): Client => ({
  id: field(item, 'client_id'),
  name: field(item, 'name'),
  redirects: Array.isArray(item.redirect_uris) ? (item.redirect_uris as string[]) : [],
});

export const readClients = async (cursor?: string): Promise<Page<Client>> =>
  pageOf(await request('GET', `/oauth-clients${query(cursor)}`), clientOf);

/** The only time a secret is told; a program that can keep none has none. */
export async function createClient(
  name: string,
  redirects: readonly string[],
  confidential: boolean,
): Promise<Client & { secret?: string }> {
  const answer = await request('POST', '/oauth-clients', { name, redirect_uris: redirects, confidential });
  const secret = optionalField(answer, 'client_secret');
  return { ...clientOf(answer), ...(secret ? { secret } : {}) };
}

export const deleteClient = async (id: string): Promise<void> =>
  void (await request('DELETE', `/oauth-clients/${encodeURIComponent(id)}`));

/** A program that acts for the person. */
export interface Program {
  readonly id: string;
  readonly name: string;
  readonly lastUsed: string;
}

export const readPrograms = async (): Promise<readonly Program[]> =>
  pageOf(await request('GET', '/users/me/programs'), (item) => ({
    id: field(item, 'client_id'),
    name: field(item, 'name'),
    lastUsed: field(item, 'last_used_at'),
  })).items;

export const revokeProgram = async (id: string): Promise<void> =>
  void (await request('DELETE', `/users/me/programs/${encodeURIComponent(id)}`));

/** Who asks to act for the person, and where it leads: the address of the page is the request. */
export async function readConsent(search: string): Promise<{ client: string; host: string }> {
  const answer = await request('POST', '/oauth/authorize', consentOf(search));
  const uri = field(answer, 'redirect_uri');
  return { client: field(answer, 'client_name'), host: /^https?:/.test(uri) ? new URL(uri).host : uri };
}

export const decideConsent = async (search: string, approve: boolean): Promise<string> =>
  field(await request('POST', '/oauth/authorize', { ...consentOf(search), approve }), 'redirect_to');

function consentOf(search: string): Record<string, string> {
  const known = [
    'response_type',
    'client_id',
    'redirect_uri',
    'state',
    'scope',
    'code_challenge',
    'code_challenge_method',
  ];
  return Object.fromEntries([...new URLSearchParams(search)].filter(([name]) => known.includes(name)));
}

export interface ApiKey {
  readonly key: string;
  readonly name: string;
}

const keyOf = (item: Answer): ApiKey => ({ key: field(item, 'key'), name: field(item, 'name') });

export const readApiKeys = async (): Promise<readonly ApiKey[]> =>
  pageOf(await request('GET', '/users/me/api-keys'), keyOf).items;

/** The only time the secret is told. */
export async function createApiKey(name: string): Promise<ApiKey & { secret: string }> {
  const answer = await request('POST', '/users/me/api-keys', { name });
  return { ...keyOf(answer), secret: field(answer, 'secret') };
}

export const deleteApiKey = async (key: string): Promise<void> =>
  void (await request('DELETE', `/users/me/api-keys/${encodeURIComponent(key)}`));
