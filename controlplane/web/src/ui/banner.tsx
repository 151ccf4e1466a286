// Banners: a fault or a state with its remedy, announced to screen readers.

import type { ComponentChildren } from 'preact';
import type { Problem } from '../problems';
import { type Advice, t } from '../strings';
import { Icon, type IconName } from './icon';

interface BannerProps {
  readonly tone: 'error' | 'warning' | 'info';
  readonly advice: Advice;
  readonly testId: string;
  readonly detail?: ComponentChildren;
  readonly slug?: string | undefined;
  readonly icon?: IconName;
  readonly children?: ComponentChildren;
}

export function Banner({ tone, advice, testId, detail, slug, icon, children }: BannerProps) {
  return (
    <div
      class={`banner banner-${tone}`}
      data-testid={testId}
      data-problem={slug}
      role={tone === 'error' ? 'alert' : 'status'}
    >
      <Icon name={icon ?? (tone === 'info' ? 'info' : 'warning')} />
      <div class="banner-words">
        <p class="banner-title">{advice.title}</p>
        <p>{advice.remedy}</p>
        {detail}
      </div>
      {children && <div class="banner-actions">{children}</div>}
    </div>
  );
}

export function ProblemBanner({ problem, note }: { problem: Problem; note?: string | undefined }) {
  return (
    <Banner
      tone="error"
      testId="error-banner"
      slug={problem.kind}
      advice={t.problems[problem.kind]}
      detail={
        <>
          <ServerWords problem={problem} />
          {note && <p class="banner-detail">{note}</p>}
        </>
      }
    />
  );
}

/** What the server itself said, for those who can use it. */
export function ServerWords({ problem }: { problem: Problem }) {
  const words = [problem.title, problem.detail].filter(Boolean).join(' — ');
  const wait = problem.retryAfterS === undefined ? '' : t.fault.retryAfter(problem.retryAfterS);
  const status = problem.status === undefined ? '' : t.fault.code(problem.status);
  if (!words && !wait) return null;
  return (
    <p class="banner-detail">
      {words && `${t.fault.serverSays} ${words}`} {status && `(${status})`} {wait}
    </p>
  );
}
