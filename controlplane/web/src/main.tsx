// Entry: language, query, then the application into #app.

import { render } from 'preact';
import { App } from './app';
import { parseQuery } from './query';
import { speakLanguage } from './strings';
import './styles/index.css';

const query = parseQuery(location.search);
speakLanguage([...(query.language ? [query.language] : []), ...navigator.languages]);

const root = document.getElementById('app');
if (root) render(<App root={root} query={query} />, root);
