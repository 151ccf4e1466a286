// Getting in: the first account, an invitation, signing in.

import { useState } from 'preact/hooks';
import { t } from '../strings';
import { TextField } from '../ui/field';
import { useAct } from './act';
import { acceptInvitation, setUp, signIn } from './calls';
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

export function SignInView() {
  const act = useAct();
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
