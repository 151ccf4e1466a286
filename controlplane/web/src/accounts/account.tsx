// The own account: profile, password, authenticator app, sessions, programs, API keys.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Button } from '../ui/button';
import { TextField } from '../ui/field';
import { useAct } from './act';
import { ApiKeys } from './api-keys';
import { changeMe, endSession, readMe, readSessions, type Session, type User } from './calls';
import { Form } from './form';
import { Programs } from './programs';
import { shortTime } from './time';
import { TotpCard } from './totp';

interface ViewProps {
  readonly user: User;
  readonly onChange: (user: User) => void;
}

export function AccountView({ user, onChange }: ViewProps) {
  return (
    <>
      <Profile user={user} onChange={onChange} />
      <TotpCard user={user} onChanged={async () => onChange(await readMe())} />
      <Password />
      <Sessions />
      <Programs />
      <ApiKeys />
    </>
  );
}

function Profile({ user, onChange }: ViewProps) {
  const act = useAct();
  const [name, setName] = useState(user.name);
  return (
    <section class="card stack">
      <h2>{t.accounts.profile}</h2>
      <p class="account-lead" data-testid="own-email">
        {user.email}
      </p>
      <Form
        act={act}
        plain
        testId="profile"
        submit={t.accounts.save}
        done={t.accounts.saved}
        onSubmit={async () => onChange(await changeMe({ name }))}
      >
        <TextField
          label={t.accounts.name}
          value={name}
          onInput={setName}
          autocomplete="name"
          maxLength={100}
          testId="account-name"
        />
      </Form>
    </section>
  );
}

function Password() {
  const act = useAct();
  const [current, setCurrent] = useState('');
  const [password, setPassword] = useState('');
  return (
    <section class="card stack">
      <h2>{t.accounts.changePassword}</h2>
      <Form
        act={act}
        plain
        testId="password"
        submit={t.accounts.save}
        done={t.accounts.passwordChanged}
        onSubmit={async () => {
          await changeMe({ password, current_password: current });
          setCurrent('');
          setPassword('');
        }}
      >
        <TextField
          label={t.accounts.currentPassword}
          type="password"
          value={current}
          onInput={setCurrent}
          autocomplete="current-password"
          testId="current-password"
        />
        <TextField
          label={t.accounts.newPassword}
          type="password"
          value={password}
          onInput={setPassword}
          autocomplete="new-password"
          testId="new-password"
        />
        <p class="account-lead">{t.accounts.passwordHint}</p>
      </Form>
    </section>
  );
}

function Sessions() {
  const act = useAct();
  const [sessions, setSessions] = useState<readonly Session[]>([]);
  const { run } = act;
  // Once: the list is read again after every change made here.
  useEffect(() => {
    void run(async () => setSessions(await readSessions()));
  }, []);
  return (
    <section class="card stack">
      <h2>{t.accounts.sessions}</h2>
      {act.problem && <ProblemBanner problem={act.problem} />}
      <ul class="rows" data-testid="sessions">
        {sessions.map((session) => (
          <li class="row" key={session.id}>
            <div class="row-words">
              <p>
                {session.agent || session.ip}
                {session.current && <span class="tag">{t.accounts.thisSession}</span>}
              </p>
              <p>
                {session.ip} · {t.accounts.lastSeen(shortTime(session.lastSeen))}
              </p>
            </div>
            {!session.current && (
              <Button
                testId="end-session-button"
                onClick={() =>
                  void run(async () => {
                    await endSession(session.id);
                    setSessions(await readSessions());
                  })
                }
              >
                {t.accounts.end}
              </Button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
