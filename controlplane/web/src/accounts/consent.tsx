// Consent: whether a program may act for the person. Its request is the address of this page.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Button } from '../ui/button';
import { useAct } from './act';
import { decideConsent, readConsent } from './calls';

export function ConsentView() {
  const act = useAct();
  const [asks, setAsks] = useState<{ client: string; host: string }>();
  const { run } = act;
  // Once, when the page is first shown.
  useEffect(() => {
    void run(async () => setAsks(await readConsent(location.search)));
  }, []);
  const decide = (approve: boolean) =>
    void run(async () => location.assign(await decideConsent(location.search, approve)));
  return (
    <section class="card stack" data-testid="consent">
      {asks && (
        <>
          <p>{t.accounts.consentAsks(asks.client)}</p>
          <p class="account-lead">{t.accounts.consentLeads(asks.host)}</p>
          <Button look="primary" busy={act.busy} testId="allow-button" onClick={() => decide(true)}>
            {t.accounts.consentAllow}
          </Button>
          <Button disabled={act.busy} testId="deny-button" onClick={() => decide(false)}>
            {t.accounts.consentDeny}
          </Button>
        </>
      )}
      {act.problem && <ProblemBanner problem={act.problem} />}
    </section>
  );
}
