// Buttons: one component for text, one for the round icon buttons of the control bars.

import type { ComponentChildren } from 'preact';
import { Icon, type IconName } from './icon';

interface ButtonProps {
  readonly children: ComponentChildren;
  readonly look?: 'primary' | 'plain' | 'quiet' | 'danger';
  readonly icon?: IconName;
  readonly type?: 'button' | 'submit';
  readonly busy?: boolean;
  readonly disabled?: boolean;
  readonly wide?: boolean;
  readonly testId?: string;
  readonly onClick?: () => void;
}

export function Button({
  children,
  look = 'plain',
  icon,
  type = 'button',
  busy,
  disabled,
  wide,
  testId,
  onClick,
}: ButtonProps) {
  return (
    <button
      type={type}
      class={`button button-${look}${wide ? ' button-wide' : ''}`}
      data-testid={testId}
      aria-busy={busy ? 'true' : undefined}
      disabled={disabled || busy}
      onClick={onClick}
    >
      {busy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      <span>{children}</span>
    </button>
  );
}

interface ControlProps {
  readonly icon: IconName;
  /** The accessible name; it stays the same when the state changes. */
  readonly label: string;
  /** What a click does now. */
  readonly tip: string;
  readonly shortcut?: string;
  readonly testId: string;
  /** Set for a switch: true is "on". */
  readonly pressed?: boolean;
  /** `off` draws attention to a switch that is off (a muted microphone). */
  readonly tone?: 'normal' | 'off' | 'active' | 'danger';
  readonly badge?: string;
  readonly busy?: boolean;
  readonly disabled?: boolean;
  readonly text?: string;
  readonly onClick: () => void;
}

export function Control(props: ControlProps) {
  const {
    icon,
    label,
    tip,
    shortcut,
    testId,
    pressed,
    tone = 'normal',
    badge,
    busy,
    disabled,
    text,
    onClick,
  } = props;
  return (
    <button
      type="button"
      class={`control control-${tone}${text ? ' control-text' : ''}`}
      data-testid={testId}
      data-tip={shortcut ? `${tip} (${shortcut})` : tip}
      aria-label={label}
      aria-pressed={pressed === undefined ? undefined : pressed ? 'true' : 'false'}
      aria-keyshortcuts={shortcut}
      aria-busy={busy ? 'true' : undefined}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} size={22} />
      {text && <span class="control-label">{text}</span>}
      {badge && <span class="control-badge">{badge}</span>}
    </button>
  );
}
