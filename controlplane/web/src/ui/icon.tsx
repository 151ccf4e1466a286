// Icons: one 24-pixel stroke set, drawn for this product. Decoration only; the words are in the element around.

const PATHS = {
  microphone:
    'M12 3.500a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0v-5a3 3 0 0 1 3-3ZM5.5 11.500a6.5 6.5 0 0 0 13 0M12 18v3',
  'microphone-off':
    'M9 9.500v2a3 3 0 0 0 4.6 2.500M15 11V6.500a3 3 0 0 0-5.7-1.300M5.5 11.500a6.5 6.5 0 0 0 10.4 5.200M18.3 13.200a6.5 6.5 0 0 0 .2-1.700M12 18v3M4 4l16 16',
  camera:
    'M5.5 6.500h7a2.5 2.5 0 0 1 2.5 2.500v6a2.5 2.5 0 0 1-2.5 2.500h-7A2.5 2.5 0 0 1 3 15V9a2.5 2.5 0 0 1 2.5-2.500ZM15 11l6-3.500v9L15 13',
  'camera-off':
    'M6.5 6.500h-1A2.5 2.5 0 0 0 3 9v6a2.5 2.5 0 0 0 2.5 2.500h7a2.5 2.5 0 0 0 2-1M10.5 6.500h2A2.5 2.5 0 0 1 15 9v2l6-3.500v9l-3.5-2M4 4l16 16',
  screen:
    'M5 4.500h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2ZM8.5 20h7M12 13.500v-6M9.5 9.7 12 7.200l2.5 2.5',
  'screen-off':
    'M5 4.500h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2ZM8.5 20h7M9.8 8.300l4.4 4.400M14.2 8.300l-4.4 4.4',
  leave:
    'M3.6 14.800c-.9-.9-.9-2.3.1-3.2 4.7-4.1 11.9-4.1 16.6 0 1 .9 1 2.3.1 3.200l-.9.900c-.5.5-1.3.6-1.9.2l-2.2-1.400a1.4 1.4 0 0 1-.6-1.200v-1.500a9.5 9.5 0 0 0-5.6 0v1.500c0 .5-.2.9-.6 1.200l-2.2 1.400c-.6.4-1.4.3-1.9-.2Z',
  link: 'M10 14a4 4 0 0 0 5.7 0l3.1-3.100a4 4 0 0 0-5.7-5.700L12 6.300M14 10a4 4 0 0 0-5.7 0l-3.1 3.100a4 4 0 0 0 5.7 5.700l1.1-1.1',
  people:
    'M9 11.500a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.8 19.500a6.2 6.2 0 0 1 12.4 0M15.5 4.800a3.5 3.5 0 0 1 0 6.400M17.5 14a6.2 6.2 0 0 1 3.7 5.5',
  settings:
    'M4 7h9M17 7h3M4 17h3M11 17h9M15 9.200a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.400ZM9 19.200a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.400Z',
  close: 'M6 6l12 12M18 6 6 18',
  check: 'M5 12.500l4.5 4.500L19 7.5',
  warning: 'M12 4 2.8 19.500h18.400L12 4ZM12 10v4.500M12 17.200v.1',
  info: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 11v5M12 8v.1',
  sound: 'M4 9.500v5h3.500L12 18.500v-13L7.5 9.500ZM15.5 9a4.2 4.2 0 0 1 0 6M18 6.500a7.8 7.8 0 0 1 0 11',
  pin: 'M9 4h6l-.8 6 3.3 3.500v1.500h-11v-1.500L9.8 10ZM12 15v5.5',
  previous: 'M14.5 6l-6 6 6 6',
  next: 'M9.5 6l6 6-6 6',
  plus: 'M12 5v14M5 12h14',
  arrow: 'M5 12h14M13 6l6 6-6 6',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
