// API keys: with them a server of the person's lets people into the person's meetings.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../strings';
import { Button } from '../ui/button';
import { TextField } from '../ui/field';
import { useAct } from './act';
import { type ApiKey, createApiKey, deleteApiKey, readApiKeys } from './calls';
import { Form } from './form';

export function ApiKeys() {
  const act = useAct();
  const [keys, setKeys] = useState<readonly ApiKey[]>([]);
  const [made, setMade] = useState<{ key: string; secret: string }>();
  const [name, setName] = useState('');
  const { run } = act;
  // Once: the list is read again after every change made here.
  useEffect(() => {
    void run(async () => setKeys(await readApiKeys()));
  }, []);
  const remove = (key: string) =>
    void run(async () => {
      await deleteApiKey(key);
      setMade(undefined);
      setKeys(await readApiKeys());
    });
  return (
    <section class="card stack" data-testid="api-keys">
      <h2>{t.accounts.apiKeys}</h2>
      <p class="account-lead">{t.accounts.apiKeysLead}</p>
      <ul class="rows">
        {keys.map((key) => (
          <li class="row" key={key.key}>
            <div class="row-words">
              <p>{key.name}</p>
              <p class="secret">{key.key}</p>
            </div>
            <Button disabled={act.busy} testId="delete-key-button" onClick={() => remove(key.key)}>
              {t.accounts.apiKeyDelete}
            </Button>
          </li>
        ))}
      </ul>
      {made && (
        <div class="stack" data-testid="api-key-made">
          <p class="account-lead">{t.accounts.apiKeyOnce}</p>
          <p class="secret">
            {t.accounts.apiKeySecret}: <span data-testid="api-key-secret">{made.secret}</span>
          </p>
        </div>
      )}
      <Form
        act={act}
        plain
        testId="api-key"
        submit={t.accounts.apiKeyMake}
        onSubmit={async () => {
          setMade(await createApiKey(name));
          setName('');
          setKeys(await readApiKeys());
        }}
      >
        <TextField
          label={t.accounts.apiKeyName}
          value={name}
          onInput={setName}
          maxLength={100}
          testId="api-key-name"
        />
      </Form>
    </section>
  );
}
