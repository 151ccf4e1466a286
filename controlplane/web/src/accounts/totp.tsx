// The authenticator app: its QR code, drawn here and sent nowhere, and recovery codes.

import { useState } from 'preact/hooks';
import { encode } from 'uqr';
import { t } from '../strings';
import { TextField } from '../ui/field';
import { useAct } from './act';
import { beginTotp, removeTotp, type User, verifyTotp } from './calls';
import { Form } from './form';

interface TotpProps {
  readonly user: User;
  readonly onChanged: () => Promise<void>;
}

export function TotpCard({ user, onChanged }: TotpProps) {
  const act = useAct();
  const [uri, setUri] = useState('');
  const [code, setCode] = useState('');
  const [recovery, setRecovery] = useState<readonly string[]>([]);
  const field = (
    <TextField
      label={t.accounts.code}
      value={code}
      onInput={setCode}
      autocomplete="one-time-code"
      testId="totp-code"
    />
  );
  const enable = async (): Promise<void> => {
    setRecovery(await verifyTotp(code));
    setUri('');
    setCode('');
    await onChanged();
  };
  const disable = async (): Promise<void> => {
    await removeTotp(code);
    setRecovery([]);
    setCode('');
    await onChanged();
  };
  return (
    <section class="card stack" data-testid="totp-card" data-enabled={user.totp ? 'yes' : 'no'}>
      <h2>{t.accounts.totp}</h2>
      {recovery.length > 0 && <Recovery codes={recovery} />}
      {user.totp ? (
        <Form act={act} plain testId="totp-disable" submit={t.accounts.totpDisable} onSubmit={disable}>
          <p class="account-lead">{t.accounts.totpOn(user.recoveryCodesLeft)}</p>
          {field}
        </Form>
      ) : uri ? (
        <Form act={act} testId="totp-verify" submit={t.accounts.totpEnable} onSubmit={enable}>
          <p class="account-lead">{t.accounts.totpScan}</p>
          <QrCode text={uri} />
          <p class="secret">
            {t.accounts.totpKey}: <span data-testid="totp-key">{keyOf(uri)}</span>
          </p>
          {field}
        </Form>
      ) : (
        <Form
          act={act}
          plain
          testId="totp-begin"
          submit={t.accounts.totpBegin}
          onSubmit={async () => setUri(await beginTotp())}
        >
          <p class="account-lead">{t.accounts.totpOff}</p>
        </Form>
      )}
    </section>
  );
}

function Recovery({ codes }: { codes: readonly string[] }) {
  return (
    <div class="stack" data-testid="recovery-codes">
      <h3>{t.accounts.recovery}</h3>
      <p class="account-lead">{t.accounts.recoveryLead}</p>
      <ul class="codes">
        {codes.map((code) => (
          <li key={code}>{code}</li>
        ))}
      </ul>
    </div>
  );
}

function QrCode({ text }: { text: string }) {
  const { size, data } = encode(text, { ecc: 'M', border: 0 });
  const path = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ''))).join('');
  return (
    <svg
      class="qr"
      viewBox={`0 0 ${size} ${size}`}
      shape-rendering="crispEdges"
      role="img"
      data-testid="totp-qr"
    >
      <title>{t.accounts.totp}</title>
      <path d={path} fill="#000000" />
    </svg>
  );
}

function keyOf(uri: string): string {
  const secret = new URLSearchParams(uri.slice(uri.indexOf('?'))).get('secret') ?? '';
  return secret.replace(/(.{4})(?=.)/g, '$1 ');
}
