// Meeting links and ids: `meeting_<decimal>` in the API is `/j/<decimal>` in a link.

/** A meeting as the address bar names it: the decimal digits of its id. */
export type MeetingNumber = string;

const DIGITS = /^\d{1,19}$/;

export function meetingId(number: MeetingNumber): string {
  return `meeting_${number}`;
}

export function meetingNumber(id: string): MeetingNumber | undefined {
  const digits = id.startsWith('meeting_') ? id.slice('meeting_'.length) : '';
  return DIGITS.test(digits) ? digits : undefined;
}

export function meetingPath(number: MeetingNumber): string {
  return `/j/${number}`;
}

/** The number in a page's path, or undefined for every other page. */
export function numberOfPath(pathname: string): MeetingNumber | undefined {
  const match = /^\/j\/(\d{1,19})\/?$/.exec(pathname);
  return match?.[1];
}

export interface MeetingLink {
  readonly number: MeetingNumber;
  /** Set when the link belongs to another server than the page's own. */
  readonly elsewhere?: string;
}

/** Understands what people paste: a whole link, a path, an id, or the bare number, spaced or not. */
export function parseMeetingLink(text: string, origin: string): MeetingLink | undefined {
  const trimmed = text.trim();
  const bare = trimmed.replace(/[\s-]/g, '');
  if (DIGITS.test(bare)) return { number: bare };
  const id = meetingNumber(trimmed);
  if (id) return { number: id };
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed);
  let url: URL;
  try {
    if (withScheme) url = new URL(trimmed);
    else if (trimmed.startsWith('/')) url = new URL(trimmed, origin);
    else url = new URL(`${new URL(origin).protocol}//${trimmed}`);
  } catch {
    return undefined;
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined;
  const number = numberOfPath(url.pathname);
  if (!number) return undefined;
  return url.origin === origin ? { number } : { number, elsewhere: url.origin + meetingPath(number) };
}

/** Groups the digits so that a number can be read aloud. */
export function readableNumber(number: MeetingNumber): string {
  return number.replace(/(\d{4})(?=\d)/g, '$1 ');
}
