// Join timings as `performance` marks, read by tests and by anyone with the developer tools open.

export type MarkName = 'kaigi:join-click' | 'kaigi:connected' | 'kaigi:first-frame';

/** Starts a new measurement: marks of an earlier join on the same page are dropped. */
export function markJoinClick(): void {
  for (const name of ['kaigi:join-click', 'kaigi:connected', 'kaigi:first-frame'] satisfies MarkName[]) {
    performance.clearMarks(name);
  }
  performance.mark('kaigi:join-click');
}

/** Sets a mark once per join. */
export function markOnce(name: MarkName): void {
  if (performance.getEntriesByName(name, 'mark').length === 0) performance.mark(name);
}
