// Chromium by playwright-core, stock Firefox ESR by puppeteer-core over WebDriver BiDi: both headless with fake devices.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const CHROMIUM_ARGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream', '--autoplay-policy=no-user-gesture-required',
  '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding'];

/**
 * A browser with `page(url, scripts)` and `close()`; its pages answer `evaluate`, `click`, `reload`, `close`. Scripts are source text that
 * runs in the page before its own.
 * Without `fakePermission` the browser asks for devices as it asks a person.
 */
export async function chromium(extra = [], { permissions = ['camera', 'microphone'], fakePermission = true, ...options } = {}) {
  const { chromium: driver } = await import('playwright-core');
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'kaigi-chromium-'));
  const context = await driver.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium', headless: true, args: [...CHROMIUM_ARGS, ...(fakePermission ? ['--use-fake-ui-for-media-stream'] : []), ...extra],
    ignoreDefaultArgs: ['--headless', '--headless=old', '--mute-audio'], permissions, ...options,
  });
  return {
    name: 'chromium',
    context,
    async page(url, scripts = []) {
      const page = await context.newPage();
      watch(page);
      for (const content of scripts) await page.addInitScript({ content });
      await page.goto(url, { waitUntil: 'domcontentloaded' });
      return page;
    },
    async close() {
      await context.close();
      fs.rmSync(profile, { recursive: true, force: true });
    },
  };
}

const FIREFOX_PREFS = {
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  'media.getusermedia.insecure.enabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-manager.url': 'data:text/plain,',
  'app.update.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,#',
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'extensions.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
};

/** Firefox needs a sound server with a sink before WebAudio runs; a null sink will do. */
function soundServer() {
  const run = (command, ...args) => spawnSync(command, args, { encoding: 'utf8' });
  if (run('pulseaudio', '--check').status === 0) return;
  run('pulseaudio', '--start', '--exit-idle-time=-1', '-n', '--load=module-null-sink', '--load=module-native-protocol-unix');
}

export async function firefox(prefs = {}) {
  soundServer();
  const { default: puppeteer } = await import('puppeteer-core');
  const browser = await puppeteer.launch({
    browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true,
    extraPrefsFirefox: { ...FIREFOX_PREFS, ...prefs }, protocolTimeout: 120_000,
  });
  return {
    name: 'firefox',
    async page(url, scripts = []) {
      const page = await browser.newPage();
      watch(page);
      // A preload script is a function; each of ours is an expression.
      for (const source of scripts) await page.evaluateOnNewDocument(source);
      await page.goto(url, { waitUntil: 'domcontentloaded' });
      return page;
    },
    close: () => browser.close(),
  };
}

function watch(page) {
  page.consoleLog = [];
  page.on('console', (message) => page.consoleLog.push(`${message.type()}: ${message.text()}`.slice(0, 500)));
  page.on('pageerror', (error) => page.consoleLog.push(`page error: ${error.message}`));
  if (process.env.KAIGI_E2E_LOG) page.on('console', (message) => process.stderr.write(`[page] ${message.text()}\n`));
}

/** Polls `fn` in the page until it answers something truthy; on time-out throws with the page's last log lines. */
export async function until(page, what, fn, arg, timeoutMs = 20_000) {
  const deadline = Date.now() + timeoutMs;
  let last;
  for (;;) {
    last = await page.evaluate(fn, arg);
    if (last) return last;
    if (Date.now() > deadline) {
      throw new Error(`timed out after ${timeoutMs} ms waiting for: ${what}\n  ${page.consoleLog.slice(-15).join('\n  ')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
