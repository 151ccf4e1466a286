import { defineConfig } from 'vite';

// The development server stands in front of a running kaigid: `KAIGI_SERVER` names it.
const server = process.env.KAIGI_SERVER ?? 'http://127.0.0.1:7880';
const proxy = Object.fromEntries(
  ['/api', '/rtc', '/healthz'].map((path) => [path, { target: server, ws: path === '/rtc' }]),
);

export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    // Every asset is a hashed file: nothing is inlined, so a strict content policy needs no `data:`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'licenses.md' },
    // livekit-client is one lazy chunk of about this size.
    chunkSizeWarningLimit: 900,
  },
  server: { proxy },
  preview: { proxy },
});
