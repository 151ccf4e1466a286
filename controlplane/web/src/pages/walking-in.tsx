// Shown while somebody walks in without a click: after a reload or by `?autojoin=1`.

import { t } from '../strings';
import { Brand } from '../ui/brand';

export function WalkingIn() {
  return (
    <main class="page centered" data-testid="walking-in">
      <div class="notice-card">
        <Brand />
        <span class="spinner spinner-large" aria-hidden="true" />
        <p role="status">{t.door.walkingIn('')}</p>
      </div>
    </main>
  );
}
