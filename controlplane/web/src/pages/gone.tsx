// After the meeting: why it is over for this page, and the way back.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { COMEBACK_ATTEMPTS, comebackDelayS, type GoneReason } from '../gone';
import { isPassing, type Problem } from '../problems';
import { t } from '../strings';
import { ProblemBanner } from '../ui/banner';
import { Brand } from '../ui/brand';
import { Button } from '../ui/button';
import { Icon } from '../ui/icon';
import type { Visit } from '../walk-in';

interface GonePageProps {
  readonly reason: GoneReason;
  readonly visit: Visit;
  /** Tries by itself, with growing pauses, until it succeeds or the answer is final. */
  readonly comesBack: boolean;
  readonly onRejoin: (visit: Visit) => Promise<Problem | undefined>;
  readonly onHome: () => void;
}

export function GonePage({ reason, visit, comesBack, onRejoin, onHome }: GonePageProps) {
  const [problem, setProblem] = useState<Problem>();
  const [trying, setTrying] = useState(false);
  const [attempt, setAttempt] = useState(0);
  const [seconds, setSeconds] = useState<number>();

  const rejoin = useRef<() => Promise<void>>(async () => {});
  rejoin.current = async () => {
    setTrying(true);
    const found = await onRejoin(visit);
    setTrying(false);
    setProblem(found);
    setAttempt((before) => before + 1);
  };
  // An answer that no further try changes takes the place of the first reason.
  const final =
    problem?.kind === 'meeting-unknown' || problem?.kind === 'meeting-ended' ? problem : undefined;
  const advice = final ? t.problems[final.kind] : t.goneReasons[reason];
  const tryNow = useCallback(() => void rejoin.current(), []);

  const waiting = comesBack && !trying && attempt < COMEBACK_ATTEMPTS && (!problem || isPassing(problem));
  useEffect(() => {
    if (!waiting) {
      setSeconds(undefined);
      return;
    }
    let left = comebackDelayS(attempt);
    setSeconds(left);
    const timer = setInterval(() => {
      left -= 1;
      setSeconds(left);
      if (left <= 0) {
        clearInterval(timer);
        tryNow();
      }
    }, 1000);
    addEventListener('online', tryNow);
    return () => {
      clearInterval(timer);
      removeEventListener('online', tryNow);
    };
  }, [waiting, attempt, tryNow]);

  useEffect(() => {
    document.title = `${advice.title} · kaigi`;
  }, [advice]);

  return (
    <main class="page centered" data-testid="disconnected-page" data-reason={reason}>
      <div
        class="notice-card"
        {...(final ? { 'data-testid': 'error-banner', 'data-problem': final.kind } : {})}
      >
        <Brand onClick={onHome} />
        <span class={`notice-icon notice-icon-${final ? 'over' : reason}`}>
          <Icon
            name={reason === 'left' ? 'leave' : reason === 'lost' && !final ? 'warning' : 'info'}
            size={28}
          />
        </span>
        <h1 tabIndex={-1} ref={(element) => element?.focus()}>
          {advice.title}
        </h1>
        <p class="notice-text" data-testid="disconnect-reason">
          {advice.remedy}
        </p>
        {problem && !final && <ProblemBanner problem={problem} />}
        <p class="notice-status" role="status">
          {trying ? t.gone.nowTrying : seconds !== undefined ? t.gone.autoRejoin(Math.max(0, seconds)) : ''}
        </p>
        <div class="notice-actions">
          {!final && (
            <Button look="primary" busy={trying} testId="rejoin-button" onClick={tryNow}>
              {t.gone.rejoin}
            </Button>
          )}
          <Button testId="home-button" onClick={onHome}>
            {t.gone.home}
          </Button>
        </div>
      </div>
    </main>
  );
}
