// Administration: accounts and the audit log.

import { useState } from 'preact/hooks';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Button } from '../ui/button';
import { CopyLink } from '../ui/copy-link';
import { TextField } from '../ui/field';
import { type Act, useAct } from './act';
import {
  type AuditLine,
  changeUser,
  inviteAgain,
  inviteUser,
  readAudit,
  readUsers,
  resetTotp,
  type User,
} from './calls';
import { Clients } from './clients';
import { Form } from './form';
import { More, useList } from './list';
import { shortTime } from './time';

export function AdminView({ own }: { own: User }) {
  const users = useList(readUsers);
  const [link, setLink] = useState('');
  const names = new Map(users.items.map((user) => [user.id, user.name]));
  return (
    <>
      <Invite
        onInvited={async (url) => {
          setLink(url);
          await users.again();
        }}
      />
      {link && (
        <section class="card stack" data-testid="invitation">
          <p class="account-lead">{t.accounts.inviteLink}</p>
          <CopyLink url={link} />
        </section>
      )}
      <section class="card stack">
        <h2>{t.accounts.users}</h2>
        {users.act.problem && <ProblemBanner problem={users.act.problem} />}
        <ul class="rows" data-testid="users">
          {users.items.map((user) => (
            <UserRow
              key={user.id}
              user={user}
              own={user.id === own.id}
              act={users.act}
              again={users.again}
              onLink={setLink}
            />
          ))}
        </ul>
        <More list={users} />
      </section>
      <Clients />
      <Audit names={names} />
    </>
  );
}

function Invite({ onInvited }: { onInvited: (url: string) => Promise<void> }) {
  const act = useAct();
  const [name, setName] = useState('');
  const [email, setEmail] = useState('');
  return (
    <section class="card stack">
      <h2>{t.accounts.invite}</h2>
      <Form
        act={act}
        testId="invite"
        submit={t.accounts.inviteDo}
        onSubmit={async () => {
          await onInvited(await inviteUser(name, email));
          setName('');
          setEmail('');
        }}
      >
        <TextField
          label={t.accounts.name}
          value={name}
          onInput={setName}
          maxLength={100}
          testId="invite-name"
        />
        <TextField
          label={t.accounts.email}
          type="email"
          value={email}
          onInput={setEmail}
          testId="invite-email"
        />
      </Form>
    </section>
  );
}

interface UserRowProps {
  readonly user: User;
  readonly own: boolean;
  readonly act: Act;
  readonly again: () => Promise<void>;
  readonly onLink: (url: string) => void;
}

function UserRow({ user, own, act, again, onLink }: UserRowProps) {
  const change = (what: { role?: 'admin' | 'user'; disabled?: boolean }) =>
    void act.run(async () => {
      await changeUser(user.id, what);
      await again();
    });
  return (
    <li class="row" data-testid="user" data-name={user.name}>
      <div class="row-words">
        <p>
          {user.name}
          {user.admin && <span class="tag">{t.accounts.isAdmin}</span>}
          {user.disabled && <span class="tag">{t.accounts.isDisabled}</span>}
          {user.totp && <span class="tag">{t.accounts.hasCodes}</span>}
          {!user.hasPassword && <span class="tag">{t.accounts.isInvited}</span>}
        </p>
        <p>{user.email || user.id}</p>
      </div>
      {!own && (
        <div class="row-actions">
          {user.email && !user.disabled && (
            <Button
              look="quiet"
              disabled={act.busy}
              onClick={() => void act.run(async () => onLink(await inviteAgain(user.id)))}
            >
              {t.accounts.inviteAgain}
            </Button>
          )}
          {user.totp && (
            <Button
              look="quiet"
              disabled={act.busy}
              testId="reset-totp-button"
              onClick={() =>
                void act.run(async () => {
                  await resetTotp(user.id);
                  await again();
                })
              }
            >
              {t.accounts.resetTotp}
            </Button>
          )}
          <Button
            look="quiet"
            disabled={act.busy}
            testId="role-button"
            onClick={() => change({ role: user.admin ? 'user' : 'admin' })}
          >
            {user.admin ? t.accounts.makeUser : t.accounts.makeAdmin}
          </Button>
          <Button
            look="quiet"
            disabled={act.busy}
            testId="disable-button"
            onClick={() => change({ disabled: !user.disabled })}
          >
            {user.disabled ? t.accounts.enable : t.accounts.disable}
          </Button>
        </div>
      )}
    </li>
  );
}

function Audit({ names }: { names: ReadonlyMap<string, string> }) {
  const lines = useList(readAudit);
  const named = (id: string) => names.get(id) ?? id;
  // The operator acts on the machine itself, from no address.
  const actor = (line: AuditLine) =>
    line.actor ? named(line.actor) : line.ip ? t.accounts.somebody : t.accounts.operator;
  return (
    <section class="card stack">
      <h2>{t.accounts.audit}</h2>
      {lines.act.problem && <ProblemBanner problem={lines.act.problem} />}
      <ul class="rows" data-testid="audit">
        {lines.items.map((line: AuditLine, index) => (
          <li class="row" key={index}>
            <div class="row-words">
              <p>
                {actor(line)} · {t.accounts.actions[line.action] ?? line.action}
                {line.target && line.target !== line.actor && ` · ${named(line.target)}`}
                {line.count > 1 && ` · ${t.accounts.times(line.count)}`}
                {line.refused && <span class="tag">{t.accounts.refused}</span>}
              </p>
              <p>{[shortTime(line.at), line.ip].filter(Boolean).join(' · ')}</p>
            </div>
          </li>
        ))}
      </ul>
      <More list={lines} />
    </section>
  );
}
