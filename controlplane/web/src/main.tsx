// Entry: language, query, then the application into #app. Pages about accounts are a chunk of their own.

import { render } from 'preact';
import { accountPageOf } from './accounts/pages';
import { App } from './app';
import { parseQuery } from './query';
import { speakLanguage } from './strings';
import './styles/index.css';

const query = parseQuery(location.search);
speakLanguage([...(query.language ? [query.language] : []), ...navigator.languages]);

const root = document.getElementById('app');
const accountPage = accountPageOf(location.pathname);
if (root && accountPage) {
  root.dataset.state = 'account';
  void import('./accounts/app').then(({ AccountApp }) => render(<AccountApp page={accountPage} />, root));
} else if (root) {
  render(<App root={root} query={query} />, root);
}
