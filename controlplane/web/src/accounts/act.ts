// One act of a form or button: under way, done, or refused with its problem.

import { useState } from 'preact/hooks';
import { type Problem, problemOf } from '../problems';

export interface Act {
  readonly busy: boolean;
  readonly done: boolean;
  readonly problem: Problem | undefined;
  readonly run: (work: () => Promise<void>) => Promise<void>;
}

export function useAct(): Act {
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const run = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setDone(false);
    setProblem(undefined);
    try {
      await work();
      setDone(true);
    } catch (error) {
      setProblem(problemOf(error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, done, problem, run };
}
