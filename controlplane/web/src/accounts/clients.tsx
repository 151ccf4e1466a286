// Programs that may ask people for access (OAuth clients): registered, listed and deleted by admins.

import { useState } from 'preact/hooks';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Button } from '../ui/button';
import { CheckField, TextField } from '../ui/field';
import { useAct } from './act';
import { type Client, createClient, deleteClient, readClients } from './calls';
import { Form } from './form';
import { More, useList } from './list';

export function Clients() {
  const list = useList(readClients);
  const [made, setMade] = useState<Client & { secret?: string }>();
  const remove = (id: string) =>
    void list.act.run(async () => {
      await deleteClient(id);
      setMade(undefined);
      await list.again();
    });
  return (
    <section class="card stack" data-testid="clients">
      <h2>{t.accounts.clients}</h2>
      <p class="account-lead">{t.accounts.clientsLead}</p>
      {list.act.problem && <ProblemBanner problem={list.act.problem} />}
      <ul class="rows">
        {list.items.map((client) => (
          <li class="row" key={client.id} data-testid="client" data-name={client.name}>
            <div class="row-words">
              <p>{client.name}</p>
              <p class="secret">{client.id}</p>
              {client.redirects.map((redirect) => (
                <p class="secret" key={redirect}>
                  {redirect}
                </p>
              ))}
            </div>
            <Button disabled={list.act.busy} testId="delete-client-button" onClick={() => remove(client.id)}>
              {t.accounts.clientDelete}
            </Button>
          </li>
        ))}
      </ul>
      <More list={list} />
      {made && (
        <div class="stack" data-testid="client-made">
          <p class="account-lead">{made.secret ? t.accounts.clientOnce : t.accounts.clientMade}</p>
          <p class="secret">
            {t.accounts.clientId}: <span data-testid="client-id">{made.id}</span>
          </p>
          {made.secret && (
            <p class="secret">
              {t.accounts.apiKeySecret}: <span data-testid="client-secret">{made.secret}</span>
            </p>
          )}
        </div>
      )}
      <NewClient
        onMade={async (client) => {
          setMade(client);
          await list.again();
        }}
      />
    </section>
  );
}

function NewClient({ onMade }: { onMade: (client: Client & { secret?: string }) => Promise<void> }) {
  const act = useAct();
  const [name, setName] = useState('');
  const [redirect, setRedirect] = useState('');
  const [confidential, setConfidential] = useState(false);
  return (
    <Form
      act={act}
      plain
      testId="client-form"
      submit={t.accounts.clientMake}
      onSubmit={async () => {
        const redirects = redirect.split(/\s+/).filter(Boolean);
        await onMade(await createClient(name, redirects, confidential));
        setName('');
        setRedirect('');
        setConfidential(false);
      }}
    >
      <TextField
        label={t.accounts.clientName}
        value={name}
        onInput={setName}
        maxLength={100}
        testId="client-name"
      />
      <TextField
        label={t.accounts.clientRedirect}
        value={redirect}
        onInput={setRedirect}
        testId="client-redirect"
      />
      <CheckField
        label={t.accounts.clientConfidential}
        checked={confidential}
        onChange={setConfidential}
        testId="client-confidential"
      />
    </Form>
  );
}
