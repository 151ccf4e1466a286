// Form fields: a label, a control, and the words that go with a fault.

import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

interface TextFieldProps {
  readonly label: string;
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly placeholder?: string;
  readonly fault?: string | undefined;
  readonly testId: string;
  readonly autocomplete?: string;
  readonly maxLength?: number;
  readonly autofocus?: boolean;
  readonly inputMode?: 'text' | 'url' | 'numeric';
  readonly type?: 'text' | 'email' | 'password';
}

export function TextField(props: TextFieldProps) {
  const {
    label,
    value,
    onInput,
    placeholder,
    fault,
    testId,
    autocomplete = 'off',
    maxLength,
    autofocus,
    type = 'text',
  } = props;
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        class="input"
        // One control for all three: the types of Preact tell inputs apart by a type that is known here.
        {...({ type } as { type: 'text' })}
        value={value}
        placeholder={placeholder}
        autocomplete={autocomplete}
        maxLength={maxLength}
        inputMode={props.inputMode}
        spellcheck={false}
        data-testid={testId}
        aria-invalid={fault ? 'true' : undefined}
        aria-describedby={fault ? `${id}-fault` : undefined}
        ref={(element) => {
          if (autofocus && element && !element.dataset.focused) {
            element.dataset.focused = 'yes';
            element.focus();
          }
        }}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {fault && (
        <p class="field-fault" id={`${id}-fault`} role="alert">
          {fault}
        </p>
      )}
    </div>
  );
}

interface SelectFieldProps {
  readonly label: string;
  readonly value: string;
  readonly options: readonly { readonly value: string; readonly label: string }[];
  readonly onChange: (value: string) => void;
  readonly testId: string;
  readonly disabled?: boolean;
  readonly children?: ComponentChildren;
}

export function SelectField({
  label,
  value,
  options,
  onChange,
  testId,
  disabled,
  children,
}: SelectFieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>
        {label}
        {children}
      </label>
      <select
        id={id}
        class="input select"
        value={value}
        data-testid={testId}
        disabled={disabled}
        onChange={(event) => onChange(event.currentTarget.value)}
      >
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
    </div>
  );
}

interface CheckFieldProps {
  readonly label: string;
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
  readonly testId: string;
}

export function CheckField({ label, checked, onChange, testId }: CheckFieldProps) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={checked}
        data-testid={testId}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
      <span>{label}</span>
    </label>
  );
}
