// A network of its own for a browser: a namespace joined to this one by a veth pair, with the addresses and the rules it is given.
//
//   const network = Network.open({ rules: ['meta l4proto udp counter drop'] });
//   const appliance = await Appliance.start(['--cores', '0'], { host: network.host });
//   const browser = await chromium(network.flags(page), { executablePath: network.program('/usr/bin/chromium') });
//
// Open it before the appliance starts, which looks at its addresses once. Needs root, `ip` and `nft`.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

let opened = 0;

export class Network {
  /** `v6`: IPv6 and nothing else. `rules` apply to what the browser sends; `nat` are rules of its output's address translation. */
  static open({ v6 = false, rules = [], nat = [] } = {}) {
    const self = new Network();
    const number = ++opened;
    self.name = `kaigi-e2e-${process.pid}-${number}`;
    self.link = `ke${process.pid % 1_000_000}n${number}`;
    self.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'kaigi-network-'));
    const part = `${process.pid % 200}`;
    const [prefix, length, route] = v6 ? [`fd7a:6b61:${part}:${number}::`, 64, ['-6']] : [`10.${114 + number}.${part}.`, 24, []];
    self.address = `${prefix}1`;
    try {
      run('ip', 'netns', 'add', self.name);
      run('ip', 'link', 'add', self.link, 'type', 'veth', 'peer', 'name', 'veth0', 'netns', self.name);
      const duplicates = v6 ? ['nodad'] : [];
      run('ip', 'addr', 'add', `${self.address}/${length}`, 'dev', self.link, ...duplicates);
      run('ip', 'link', 'set', self.link, 'up');
      run('ip', '-n', self.name, 'addr', 'add', `${prefix}2/${length}`, 'dev', 'veth0', ...duplicates);
      for (const device of ['lo', 'veth0']) run('ip', '-n', self.name, 'link', 'set', 'dev', device, 'up');
      run('ip', '-n', self.name, ...route, 'route', 'add', 'default', 'via', self.address);
      if (rules.length > 0) self.#chain('inet', 'filter', 'type filter hook output priority 0', rules);
      if (nat.length > 0) self.#chain('ip', 'nat', 'type nat hook output priority -100', nat.map((rule) => rule(self.address)));
    } catch (error) {
      self.close();
      throw error;
    }
    return self;
  }

  #chain(family, table, kind, rules) {
    this.#nft('add', 'table', family, table);
    this.#nft('add', 'chain', family, table, 'out', `{ ${kind}; }`);
    for (const rule of rules) this.#nft('add', 'rule', family, table, 'out', ...rule.split(' '));
  }

  #nft(...args) {
    return run('ip', 'netns', 'exec', this.name, 'nft', ...args);
  }

  /** This side of the link as it stands in a URL. */
  get host() {
    return this.address.includes(':') ? `[${this.address}]` : this.address;
  }

  /** Packets that rules with `counter` met. */
  counted() {
    return [...this.#nft('list', 'ruleset').matchAll(/counter packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** A program that runs `program` inside. */
  program(program) {
    const file = path.join(this.folder, path.basename(program));
    fs.writeFileSync(file, `#!/bin/sh\nexec ip netns exec ${this.name} ${program} "$@"\n`, { mode: 0o755 });
    return file;
  }

  /** Flags for Chromium: a page from another address gets devices as one from localhost does. */
  flags(page) {
    return [`--unsafely-treat-insecure-origin-as-secure=${new URL(page.url).origin}`];
  }

  close() {
    // With the namespace goes its end of the link, and with that the other one.
    try { run('ip', 'netns', 'del', this.name); } catch { /* it was not made */ }
    try { run('ip', 'link', 'del', this.link); } catch { /* it is gone */ }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
