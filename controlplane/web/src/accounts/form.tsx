// A card with a form in it: fields, one button, and what came of it.

import type { ComponentChildren } from 'preact';
import { ProblemBanner } from '../ui/banner';
import { Button } from '../ui/button';
import type { Act } from './act';

interface FormProps {
  readonly act: Act;
  readonly submit: string;
  readonly testId: string;
  readonly onSubmit: () => Promise<void>;
  readonly done?: string;
  readonly plain?: boolean;
  readonly children: ComponentChildren;
}

export function Form({ act, submit, testId, onSubmit, done, plain, children }: FormProps) {
  return (
    <form
      class="stack"
      data-testid={testId}
      onSubmit={(event) => {
        event.preventDefault();
        void act.run(onSubmit);
      }}
    >
      {children}
      {act.problem && <ProblemBanner problem={act.problem} />}
      <Button look={plain ? 'plain' : 'primary'} type="submit" busy={act.busy} testId={`${testId}-button`}>
        {submit}
      </Button>
      <p role="status" class="account-lead">
        {act.done && done}
      </p>
    </form>
  );
}
