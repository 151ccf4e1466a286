// Query options of a page: what tests, kiosks and embedded pages may set in the address.

import { type CaptureSize, parseCapture } from './capture';

export interface Query {
  readonly name?: string;
  readonly capture?: CaptureSize;
  readonly autojoin: boolean;
  readonly microphone?: boolean;
  readonly camera?: boolean;
  readonly language?: string;
}

export function parseQuery(search: string): Query {
  const params = new URLSearchParams(search);
  const name = params.get('name')?.trim();
  const capture = parseCapture(params.get('capture'));
  const language = params.get('lang');
  return {
    autojoin: flag(params.get('autojoin')) ?? false,
    ...(name ? { name } : {}),
    ...(capture ? { capture } : {}),
    ...(language ? { language } : {}),
    ...optional('microphone', flag(params.get('mic'))),
    ...optional('camera', flag(params.get('camera'))),
  };
}

function flag(value: string | null): boolean | undefined {
  if (value === null) return undefined;
  return value !== '0' && value !== 'false';
}

function optional<K extends string>(key: K, value: boolean | undefined): { [P in K]?: boolean } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: boolean });
}
