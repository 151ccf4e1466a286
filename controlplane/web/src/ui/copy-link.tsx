// The invitation: the link of a meeting, ready to copy.

import { useEffect, useState } from 'preact/hooks';
import { t } from '../strings';
import { Icon } from './icon';

const SHOWN_MS = 2500;

export function CopyLink({ url }: { url: string }) {
  const [state, setState] = useState<'idle' | 'copied' | 'failed'>('idle');
  useEffect(() => {
    if (state === 'idle') return;
    const timer = setTimeout(() => setState('idle'), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [state]);
  return (
    <div class="copy-link">
      <input
        class="copy-link-url"
        readOnly
        value={url}
        aria-label={t.door.share}
        data-testid="join-link"
        onFocus={(event) => event.currentTarget.select()}
      />
      <button
        type="button"
        class="button button-plain copy-link-button"
        data-testid="copy-link-button"
        onClick={() => void copyText(url).then((done) => setState(done ? 'copied' : 'failed'))}
      >
        <Icon name={state === 'copied' ? 'check' : 'link'} size={18} />
        <span>{state === 'copied' ? t.meeting.linkCopied : t.meeting.copyLink}</span>
      </button>
      <span class="visually-hidden" role="status">
        {state === 'copied' ? t.meeting.linkCopied : state === 'failed' ? t.meeting.copyFailed : ''}
      </span>
    </div>
  );
}

/** False when it could not be copied. Pages without a secure context have no clipboard, so there is an older way. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.setAttribute('readonly', '');
    area.className = 'visually-hidden';
    document.body.append(area);
    area.select();
    let copied = false;
    try {
      copied = document.execCommand('copy');
    } catch {
      // Nothing left to try; the link stays selectable.
    }
    area.remove();
    return copied;
  }
}
