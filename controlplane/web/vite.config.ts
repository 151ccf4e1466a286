import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

// The development server stands in front of a running kaigid: `KAIGI_SERVER` names it.
const server = process.env.KAIGI_SERVER ?? 'http://127.0.0.1:7880';
const proxy = Object.fromEntries(
  ['/api', '/rtc', '/healthz'].map((path) => [path, { target: server, ws: path === '/rtc' }]),
);

export default defineConfig({
  plugins: [compressed()],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    // Every asset is a hashed file: nothing is inlined, so a strict content policy needs no `data:`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'licenses.txt' },
    // livekit-client is one lazy chunk of about this size.
    chunkSizeWarningLimit: 900,
  },
  server: { proxy },
  preview: { proxy },
});

/** Writes `.br` and `.gz` beside every text file, so that the server compresses nothing per request. */
function compressed(): Plugin {
  const text = /\.(html|js|css|svg|txt)$/;
  let directory = '';
  return {
    name: 'compressed',
    apply: 'build',
    configResolved(config) {
      directory = join(config.root, config.build.outDir);
    },
    closeBundle() {
      for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !text.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const plain = readFileSync(path);
        const brotli = brotliCompressSync(plain, {
          params: { [constants.BROTLI_PARAM_SIZE_HINT]: plain.length },
        });
        writeFileSync(`${path}.br`, brotli);
        writeFileSync(`${path}.gz`, gzipSync(plain, { level: 9 }));
      }
    },
  };
}
