// Choice of devices and of the camera's quality, at the door and in the meeting.

import { CAPTURE_SIZES, type CaptureSize, formatCapture, parseCapture } from '../capture';
import { type Device, speakerChoiceAvailable, useDevices } from '../media/devices';
import type { Preferences } from '../preferences';
import { t } from '../strings';
import { SelectField } from './field';

interface DevicesFormProps {
  readonly preferences: Preferences;
  /** Changes when device labels may have become readable. */
  readonly version: unknown;
  readonly onChange: (change: Partial<Preferences>) => void;
}

export function DevicesForm({ preferences, version, onChange }: DevicesFormProps) {
  const devices = useDevices(version);
  return (
    <div class="devices-form">
      <DeviceSelect
        label={t.devices.camera}
        devices={devices.cameras}
        chosen={preferences.cameraId}
        testId="select-camera"
        onChange={(cameraId) => onChange({ cameraId })}
      />
      <DeviceSelect
        label={t.devices.microphone}
        devices={devices.microphones}
        chosen={preferences.microphoneId}
        testId="select-microphone"
        onChange={(microphoneId) => onChange({ microphoneId })}
      />
      {speakerChoiceAvailable() && (
        <DeviceSelect
          label={t.devices.speaker}
          devices={devices.speakers}
          chosen={preferences.speakerId}
          testId="select-speaker"
          onChange={(speakerId) => onChange({ speakerId })}
        />
      )}
      <SelectField
        label={t.devices.quality}
        value={formatCapture(preferences.capture)}
        options={captureOptions(preferences.capture)}
        testId="select-capture"
        onChange={(value) => {
          const capture = parseCapture(value);
          if (capture) onChange({ capture });
        }}
      />
    </div>
  );
}

interface DeviceSelectProps {
  readonly label: string;
  readonly devices: readonly Device[];
  readonly chosen: string | undefined;
  readonly testId: string;
  readonly onChange: (id: string) => void;
}

function DeviceSelect({ label, devices, chosen, testId, onChange }: DeviceSelectProps) {
  const options = devices.map((device, index) => ({
    value: device.id,
    label: device.label || t.devices.unnamed(label, index + 1),
  }));
  const known = devices.some((device) => device.id === chosen);
  // Chromium lists its default as a device of that id; elsewhere "no choice" stands for it.
  const preset = devices.some((device) => device.id === 'default') ? 'default' : '';
  const unset = { value: '', label: devices.length === 0 ? t.devices.none : t.devices.standard };
  return (
    <SelectField
      label={label}
      value={known ? (chosen ?? preset) : preset}
      options={preset ? options : [unset, ...options]}
      testId={testId}
      disabled={devices.length === 0}
      onChange={onChange}
    />
  );
}

/** The product's sizes, and the present one when the address asked for another. */
function captureOptions(present: CaptureSize): { value: string; label: string }[] {
  const sizes = CAPTURE_SIZES.some((size) => formatCapture(size) === formatCapture(present))
    ? CAPTURE_SIZES
    : [present, ...CAPTURE_SIZES];
  return sizes.map((size) => {
    const value = formatCapture(size);
    const label = t.devices.captureLabels[value];
    const numbers = t.devices.capture(size.width, size.height, size.framesPerSecond);
    return { value, label: label ? `${label} (${numbers})` : numbers };
  });
}
