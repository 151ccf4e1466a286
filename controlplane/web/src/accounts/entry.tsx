// Getting in: the first account, an invitation, signing in.

import { useEffect, useState } from 'preact/hooks';
import { type Problem, problemOfAnswer } from '../problems';
import { t } from '../strings';
import { TextField } from '../ui/field';
import { useAct } from './act';
import { acceptInvitation, readProvider, setUp, signIn, signInCode } from './calls';
import { Form } from './form';
import { nextPage } from './pages';

/** The token of a link follows its `#`: browsers send that to nobody. */
const tokenOfLink = () => location.hash.slice(1);

export function FirstPassword({ invited }: { invited: boolean }) {
  const act = useAct();
  const [token] = useState(tokenOfLink);
  const [name, setName] = useState('');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  if (!token) return <p class="account-lead">{t.accounts.noToken}</p>;
  return (
    <section class="card">
      <Form
        act={act}
        testId="first-password"
        submit={invited ? t.accounts.invitationDo : t.accounts.setupDo}
        onSubmit={async () => {
          if (invited) await acceptInvitation(token, password);
          else await setUp(token, name, email, password);
          location.replace('/account');
        }}
      >
        <p class="account-lead">{invited ? t.accounts.invitationLead : t.accounts.setupLead}</p>
        {!invited && (
          <>
            <TextField
              label={t.accounts.name}
              value={name}
              onInput={setName}
              autocomplete="name"
              maxLength={100}
              autofocus
              testId="account-name"
            />
            <TextField
              label={t.accounts.email}
              type="email"
              value={email}
              onInput={setEmail}
              autocomplete="username"
              testId="account-email"
            />
          </>
        )}
        <TextField
          label={t.accounts.password}
          type="password"
          value={password}
          onInput={setPassword}
          autocomplete="new-password"
          autofocus={invited}
          testId="account-password"
        />
        <p class="account-lead">{t.accounts.passwordHint}</p>
      </Form>
    </section>
  );
}

/** Back from the provider: what went wrong there, in the address of the page. */
function problemOfAddress(): Problem | undefined {
  const query = new URLSearchParams(location.search);
  const slug = query.get('problem');
  if (!slug) return undefined;
  const seconds = slug.startsWith('too-many') ? query.get('retry') : null;
  return problemOfAnswer(403, { type: `/problems/${slug}` }, seconds);
}

export function SignInView() {
  if (new URLSearchParams(location.search).get('step') === 'code') return <CodeView />;
  return (
    <>
      <PasswordView />
      <ProviderLink />
    </>
  );
}

/** The provider's button, where there is one. Signing in with a password never waits for it. */
function ProviderLink() {
  const [provider, setProvider] = useState<{ name: string; url: string }>();
  useEffect(() => {
    readProvider().then(setProvider, () => undefined);
  }, []);
  if (!provider) return null;
  const next = encodeURIComponent(nextPage(location.search, location.origin));
  return (
    <div class="account-other">
      <p class="account-or">{t.start.or}</p>
      <a class="button button-plain" href={`${provider.url}?next=${next}`} data-testid="provider-link">
        {t.accounts.signInBy(provider.name)}
      </a>
    </div>
  );
}

/** The account's own code, after the provider's word. */
function CodeView() {
  const act = useAct();
  const [code, setCode] = useState('');
  return (
    <section class="card">
      <Form
        act={act}
        testId="provider-code"
        submit={t.accounts.signIn}
        onSubmit={async () => {
          await signInCode(code.trim());
          location.replace(nextPage(location.search, location.origin));
        }}
      >
        <p class="account-lead">{t.accounts.signInCode}</p>
        <TextField
          label={t.accounts.code}
          value={code}
          onInput={setCode}
          autocomplete="one-time-code"
          autofocus
          testId="account-code"
        />
        <p class="account-lead">{t.accounts.codeHint}</p>
      </Form>
    </section>
  );
}

function PasswordView() {
  const own = useAct();
  const [returned] = useState(problemOfAddress);
  const act = own.problem || own.busy || !returned ? own : { ...own, problem: returned };
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const [asksCode, setAsksCode] = useState(false);
  return (
    <section class="card">
      <Form
        act={asksCode && act.problem?.slug === 'totp-required' ? { ...act, problem: undefined } : act}
        testId="sign-in"
        submit={t.accounts.signIn}
        onSubmit={async () => {
          try {
            await signIn(email, password, code.trim() || undefined);
          } catch (error) {
            if ((error as { problem?: { slug?: string } }).problem?.slug === 'totp-required')
              setAsksCode(true);
            throw error;
          }
          location.replace(nextPage(location.search, location.origin));
        }}
      >
        <TextField
          label={t.accounts.email}
          type="email"
          value={email}
          onInput={setEmail}
          autocomplete="username"
          autofocus
          testId="account-email"
        />
        <TextField
          label={t.accounts.password}
          type="password"
          value={password}
          onInput={setPassword}
          autocomplete="current-password"
          testId="account-password"
        />
        {asksCode && (
          <>
            <TextField
              label={t.accounts.code}
              value={code}
              onInput={setCode}
              autocomplete="one-time-code"
              autofocus
              testId="account-code"
            />
            <p class="account-lead">{t.accounts.codeHint}</p>
          </>
        )}
      </Form>
    </section>
  );
}
