// A tiny static server for the bare test page: another origin than the appliance, as an SDK user's page is.
import http from 'node:http';
import fs from 'node:fs';
import path from 'node:path';

const HERE = path.resolve(import.meta.dirname, '..');
const FILES = {
  '/': [path.join(HERE, 'pages/bare.html'), 'text/html'],
  '/livekit-client.js': [path.join(HERE, 'node_modules/livekit-client/dist/livekit-client.umd.js'), 'text/javascript'],
  '/livekit-client.e2ee.worker.js': [path.join(HERE, 'node_modules/livekit-client/dist/livekit-client.e2ee.worker.js'), 'text/javascript'],
};

/** Served on this address of the machine; browsers give devices to localhost only, unless told otherwise. */
export async function serveBarePage(address = '127.0.0.1') {
  const server = http.createServer((request, response) => {
    const found = FILES[new URL(request.url, 'http://localhost').pathname];
    if (!found) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': found[1], 'cache-control': 'no-store' });
    fs.createReadStream(found[0]).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, address, resolve));
  const host = address === '127.0.0.1' ? 'localhost' : address.includes(':') ? `[${address}]` : address;
  return { url: `http://${host}:${server.address().port}/`, close: () => server.close() };
}
