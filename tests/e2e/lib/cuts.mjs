// A TCP proxy in front of the appliance whose connections a test cuts: what a network does to signalling while media goes on.
import { once } from 'node:events';
import net from 'node:net';

export class Cuts {
  /** A proxy on a free port to `port` of this machine. */
  static async before(port) {
    const self = new Cuts();
    self.sockets = new Set();
    self.server = net.createServer((near) => {
      const far = net.connect(port, '127.0.0.1');
      for (const [one, other] of [[near, far], [far, near]]) {
        self.sockets.add(one);
        one.on('error', () => {});
        one.on('close', () => {
          self.sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    }).listen(0, '127.0.0.1');
    await once(self.server, 'listening');
    self.url = `ws://localhost:${self.server.address().port}`;
    return self;
  }

  /** Resets every connection; how many there were. */
  cut() {
    const count = this.sockets.size / 2;
    for (const socket of this.sockets) socket.resetAndDestroy();
    return count;
  }

  close() {
    this.cut();
    this.server.close();
  }
}
