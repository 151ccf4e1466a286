// A face for somebody without video: initials and a colour that is the same in every browser.

/** One or two characters; for names written without spaces (CJK) the first one. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = characters(words[0])[0] ?? '?';
  const last = words.length > 1 ? (characters(words[words.length - 1])[0] ?? '') : '';
  return (first + last).toLocaleUpperCase();
}

/** Hue in degrees, one of twelve, from a FNV-1a hash of the identity, mixed once more so that `u1` and `u2` differ. */
export function hue(identity: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(identity)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b) >>> 0;
  return ((hash >>> 16) % 12) * 30 + 12;
}

/** User-perceived characters, so that an emoji or a letter with marks stays whole. */
function characters(word: string | undefined): string[] {
  if (!word) return [];
  if (typeof Intl.Segmenter !== 'function') return [...word];
  return [...new Intl.Segmenter().segment(word)].map(({ segment }) => segment);
}
