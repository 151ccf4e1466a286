// The picture on the start page: a small meeting, drawn.

const FACES = [
  { x: 0, y: 0, hue: 226, head: 30 },
  { x: 152, y: 0, hue: 14, head: 28 },
  { x: 304, y: 0, hue: 162, head: 31 },
  { x: 76, y: 96, hue: 268, head: 29 },
  { x: 228, y: 96, hue: 40, head: 30 },
];

export function HeroArt() {
  return (
    <svg class="hero-art" viewBox="-5 -5 454 194" aria-hidden="true">
      {FACES.map(({ x, y, hue, head }, index) => (
        <g key={hue} transform={`translate(${x} ${y})`}>
          <clipPath id={`hero-${index}`}>
            <rect width="140" height="84" rx="14" />
          </clipPath>
          <rect
            class="hero-tile"
            width="140"
            height="84"
            rx="14"
            style={{ fill: `hsl(${hue} 55% var(--hero-light))` }}
          />
          <g clip-path={`url(#hero-${index})`} style={{ fill: `hsl(${hue} 50% var(--hero-shade))` }}>
            <circle cx="70" cy={head + 8} r="15" />
            <path d="M34 96a36 30 0 0 1 72 0Z" transform={`translate(0 ${head - 28})`} />
          </g>
          {index === 1 && (
            <rect class="hero-ring" x="-3" y="-3" width="146" height="90" rx="17" fill="none" />
          )}
        </g>
      ))}
    </svg>
  );
}
