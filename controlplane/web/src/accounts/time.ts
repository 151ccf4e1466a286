// Points in time in the reader's own words.

import { t } from '../strings';

export function shortTime(text: string): string {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  return new Intl.DateTimeFormat(t.language, { dateStyle: 'medium', timeStyle: 'short' }).format(time);
}
