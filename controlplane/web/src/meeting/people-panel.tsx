// The list of participants, with the invitation below it.

import { t } from '../strings';
import { CopyLink } from '../ui/copy-link';
import { Icon } from '../ui/icon';
import { hue, initials } from './face';
import type { Person } from './model';

interface PeoplePanelProps {
  readonly people: readonly Person[];
  readonly url: string;
  readonly onClose: () => void;
}

export function PeoplePanel({ people, url, onClose }: PeoplePanelProps) {
  return (
    <aside class="people-panel" data-testid="people-panel" aria-label={t.meeting.people}>
      <header class="dialog-head">
        <h2>
          {t.meeting.people} <span class="people-count">{people.length}</span>
        </h2>
        <button type="button" class="icon-button" aria-label={t.meeting.close} onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <ul class="people-list">
        {people.map((person) => (
          <li key={person.key} data-testid="person" data-identity={person.identity}>
            <span
              class="person-face"
              aria-hidden="true"
              style={{ '--face-hue': String(hue(person.identity)) }}
            >
              {initials(person.name || t.meeting.guest)}
            </span>
            <span class="person-name">
              {person.name || t.meeting.guest} {person.local && <small>{t.meeting.youSuffix}</small>}
            </span>
            {person.sharing && <Icon name="screen" size={18} />}
            <span class={person.microphoneOn ? 'person-sound' : 'person-sound person-muted'}>
              <Icon name={person.microphoneOn ? 'microphone' : 'microphone-off'} size={18} />
              {!person.microphoneOn && <span class="visually-hidden">{t.meeting.muted}</span>}
            </span>
          </li>
        ))}
      </ul>
      <footer class="people-invite">
        <p class="label">{t.door.share}</p>
        <CopyLink url={url} />
      </footer>
    </aside>
  );
}
