// The pages about accounts: which one is shown, what is around it, and who may see it.

import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { type Problem, problemOf } from '../problems';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Brand } from '../ui/brand';
import { Button } from '../ui/button';
import { AccountView } from './account';
import { AdminView } from './admin';
import { readMe, signOut, type User } from './calls';
import { ConsentView } from './consent';
import { FirstPassword, SignInView } from './entry';
import type { AccountPage } from './pages';

export function AccountApp({ page }: { page: AccountPage }) {
  switch (page) {
    case 'setup':
    case 'invitation':
      return (
        <Frame title={page === 'setup' ? t.accounts.setupTitle : t.accounts.invitationTitle} narrow>
          <FirstPassword invited={page === 'invitation'} />
        </Frame>
      );
    case 'signin':
      return (
        <Frame title={t.accounts.signIn} narrow>
          <SignInView />
        </Frame>
      );
    case 'consent':
      return (
        <Frame title={t.accounts.consentTitle} narrow>
          <ConsentView />
        </Frame>
      );
    case 'account':
    case 'admin':
      return <SignedIn page={page} />;
  }
}

/** A page for somebody who is signed in; everybody else goes to sign in and comes back. */
function SignedIn({ page }: { page: 'account' | 'admin' }) {
  const [user, setUser] = useState<User>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    readMe().then(setUser, (error) => {
      const found = problemOf(error);
      if (found.status === 401) location.replace(`/signin?next=/${page}`);
      else setProblem(found);
    });
  }, [page]);
  return (
    <Frame title={page === 'account' ? t.accounts.account : t.accounts.admin} page={page} user={user}>
      {problem && <ProblemBanner problem={problem} />}
      {user && page === 'account' && <AccountView user={user} onChange={setUser} />}
      {user && page === 'admin' && <AdminView own={user} />}
    </Frame>
  );
}

interface FrameProps {
  readonly title: string;
  readonly narrow?: boolean;
  readonly page?: AccountPage;
  readonly user?: User | undefined;
  readonly children: ComponentChildren;
}

function Frame({ title, narrow, page, user, children }: FrameProps) {
  useEffect(() => {
    document.title = `${title} · kaigi`;
  }, [title]);
  const leave = async (): Promise<void> => {
    await signOut().catch(() => undefined);
    location.assign('/');
  };
  const width = narrow ? ' account-main-narrow' : page === 'admin' ? ' account-main-wide' : '';
  const link = (of: AccountPage, text: string) => (
    <a class="head-link" href={`/${of}`} aria-current={page === of ? 'page' : undefined}>
      {text}
    </a>
  );
  return (
    <div class="page" data-testid={`${page ?? 'entry'}-page`}>
      <header class="start-head">
        <Brand onClick={() => location.assign('/')} />
        {user && (
          <nav class="head-links">
            {link('account', t.accounts.account)}
            {user.admin && link('admin', t.accounts.admin)}
            <Button look="quiet" testId="sign-out-button" onClick={() => void leave()}>
              {t.accounts.signOut}
            </Button>
          </nav>
        )}
      </header>
      <main class={`account-main${width}`}>
        <h1>{title}</h1>
        {children}
      </main>
    </div>
  );
}
