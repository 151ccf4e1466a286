// A list that comes in pages, and the button for the next one.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../strings';
import { Button } from '../ui/button';
import { type Act, useAct } from './act';
import type { Page } from './calls';

export interface List<T> {
  readonly items: readonly T[];
  readonly act: Act;
  readonly next: string | undefined;
  /** Reads from the beginning. */
  readonly again: () => Promise<void>;
  readonly more: () => Promise<void>;
}

export function useList<T>(read: (cursor?: string) => Promise<Page<T>>): List<T> {
  const act = useAct();
  const [items, setItems] = useState<readonly T[]>([]);
  const [next, setNext] = useState<string>();
  const again = async (): Promise<void> => {
    const page = await read();
    setItems(page.items);
    setNext(page.next);
  };
  const more = async (): Promise<void> => {
    const page = await read(next);
    setItems((before) => [...before, ...page.items]);
    setNext(page.next);
  };
  const { run } = act;
  // Once, when the page is first shown.
  useEffect(() => {
    void run(again);
  }, []);
  return { items, act, next, again, more };
}

export function More<T>({ list }: { list: List<T> }) {
  if (!list.next) return null;
  return (
    <Button busy={list.act.busy} onClick={() => void list.act.run(list.more)}>
      {t.accounts.more}
    </Button>
  );
}
