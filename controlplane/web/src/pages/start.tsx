// Start: create a meeting, or join one by its link or number.

import { useEffect, useState } from 'preact/hooks';
import { createMeeting } from '../api';
import { type MeetingNumber, parseMeetingLink } from '../links';
import type { Preferences } from '../preferences';
import { type Problem, problemOf } from '../problems';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Brand } from '../ui/brand';
import { Button } from '../ui/button';
import { TextField } from '../ui/field';
import { Icon } from '../ui/icon';
import { HeroArt } from './hero-art';

interface StartPageProps {
  readonly preferences: Preferences;
  readonly onChange: (change: Partial<Preferences>) => void;
  readonly onMeeting: (number: MeetingNumber, created: boolean) => void;
}

export function StartPage({ preferences, onChange, onMeeting }: StartPageProps) {
  useEffect(() => {
    document.title = `kaigi · ${t.tagline}`;
  }, []);
  return (
    <div class="page start">
      <header class="start-head">
        <Brand />
        <a class="head-link" href="/account" data-testid="account-link">
          {t.accounts.account}
        </a>
      </header>
      <main class="start-main">
        <section class="start-words">
          <h1>{t.tagline}</h1>
          <p class="start-lead">{t.lead}</p>
          <ul class="start-points">
            {t.points.map((point) => (
              <li key={point}>
                <Icon name="check" size={18} />
                {point}
              </li>
            ))}
          </ul>
          <HeroArt />
        </section>
        <section class="card start-card" aria-label={t.start.title}>
          <TextField
            label={t.start.name}
            placeholder={t.start.namePlaceholder}
            value={preferences.name}
            onInput={(name) => onChange({ name })}
            autocomplete="name"
            maxLength={80}
            testId="name-input"
          />
          <CreateForm name={preferences.name} onCreated={(number) => onMeeting(number, true)} />
          <p class="divider">
            <span>{t.start.or}</span>
          </p>
          <JoinForm onMeeting={(number) => onMeeting(number, false)} />
        </section>
      </main>
    </div>
  );
}

interface CreateFormProps {
  readonly name: string;
  readonly onCreated: (number: MeetingNumber) => void;
}

function CreateForm({ name, onCreated }: CreateFormProps) {
  const [topic, setTopic] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const create = async (): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      const { number } = await createMeeting(topic.trim() || t.start.topicDefault(name.trim()));
      onCreated(number);
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
    }
  };
  return (
    <form
      class="stack"
      data-testid="create-form"
      onSubmit={(event) => {
        event.preventDefault();
        void create();
      }}
    >
      <h2>{t.start.newMeeting}</h2>
      <TextField
        label={t.start.topic}
        placeholder={t.start.topicPlaceholder}
        value={topic}
        onInput={setTopic}
        maxLength={200}
        testId="topic-input"
      />
      <Button look="primary" type="submit" icon="plus" wide busy={busy} testId="create-button">
        {busy ? t.start.creating : t.start.create}
      </Button>
      {problem && <ProblemBanner problem={problem} />}
      {problem?.kind === 'account-needed' && (
        <a class="button button-plain button-wide" href="/signin?next=/" data-testid="signin-link">
          {t.accounts.signIn}
        </a>
      )}
    </form>
  );
}

function JoinForm({ onMeeting }: { onMeeting: (number: MeetingNumber) => void }) {
  const [link, setLink] = useState('');
  const [invalid, setInvalid] = useState(false);
  const join = (): void => {
    const parsed = parseMeetingLink(link, location.origin);
    setInvalid(!parsed);
    if (parsed?.elsewhere) location.assign(parsed.elsewhere);
    else if (parsed) onMeeting(parsed.number);
  };
  return (
    <form
      class="stack"
      data-testid="join-form"
      onSubmit={(event) => {
        event.preventDefault();
        join();
      }}
    >
      <h2>{t.start.joinMeeting}</h2>
      <TextField
        label={t.start.link}
        placeholder={t.start.linkPlaceholder}
        value={link}
        onInput={(value) => {
          setLink(value);
          setInvalid(false);
        }}
        fault={invalid ? t.start.linkInvalid : undefined}
        inputMode="url"
        testId="link-input"
      />
      <Button type="submit" icon="arrow" wide testId="continue-button">
        {t.start.join}
      </Button>
    </form>
  );
}
