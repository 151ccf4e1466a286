// Programs that act for the person, and taking that back.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Button } from '../ui/button';
import { useAct } from './act';
import { type Program, readPrograms, revokeProgram } from './calls';
import { shortTime } from './time';

export function Programs() {
  const act = useAct();
  const [programs, setPrograms] = useState<readonly Program[]>([]);
  const { run } = act;
  // Once: the list is read again after every change made here.
  useEffect(() => {
    void run(async () => setPrograms(await readPrograms()));
  }, []);
  const revoke = (id: string) =>
    void run(async () => {
      await revokeProgram(id);
      setPrograms(await readPrograms());
    });
  return (
    <section class="card stack" data-testid="programs">
      <h2>{t.accounts.programs}</h2>
      <p class="account-lead">{programs.length ? t.accounts.programsLead : t.accounts.programsNone}</p>
      {act.problem && <ProblemBanner problem={act.problem} />}
      <ul class="rows">
        {programs.map((program) => (
          <li class="row" key={program.id} data-testid="program" data-name={program.name}>
            <div class="row-words">
              <p>{program.name}</p>
              <p>{t.accounts.lastSeen(shortTime(program.lastUsed))}</p>
            </div>
            <Button disabled={act.busy} testId="revoke-program-button" onClick={() => revoke(program.id)}>
              {t.accounts.programRevoke}
            </Button>
          </li>
        ))}
      </ul>
    </section>
  );
}
