// The words of the interface in the reader's language, chosen once per page.

import { en, type Strings } from './en';
import { ja } from './ja';

export type { Advice, Strings } from './en';

const LANGUAGES: Readonly<Record<string, Strings>> = { en, ja };

/** The first language of `preferred` that we speak; English otherwise. */
export function chooseStrings(preferred: readonly string[]): Strings {
  for (const tag of preferred) {
    const strings = LANGUAGES[tag.toLowerCase().split('-')[0] ?? ''];
    if (strings) return strings;
  }
  return en;
}

/** Set by `main` before anything renders. */
export let t: Strings = en;

export function speakLanguage(preferred: readonly string[]): void {
  t = chooseStrings(preferred);
  document.documentElement.lang = t.language;
}
