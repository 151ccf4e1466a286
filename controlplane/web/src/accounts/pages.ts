// Pages about accounts, by their address.

export type AccountPage = 'setup' | 'invitation' | 'signin' | 'account' | 'admin' | 'consent';

const PAGES: Readonly<Record<string, AccountPage>> = {
  '/setup': 'setup',
  '/invitation': 'invitation',
  '/signin': 'signin',
  '/account': 'account',
  '/admin': 'admin',
  '/oauth/authorize': 'consent',
};

export function accountPageOf(pathname: string): AccountPage | undefined {
  return PAGES[pathname.replace(/(.)\/$/, '$1')];
}

/** Where to go after signing in: a page of this server, whatever the address says. */
export function nextPage(search: string, origin: string): string {
  const next = new URLSearchParams(search).get('next');
  if (!next) return '/account';
  let url: URL;
  try {
    url = new URL(next, origin);
  } catch {
    return '/account';
  }
  return url.origin === origin ? url.pathname + url.search : '/account';
}
