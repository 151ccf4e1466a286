// Participants that use the unmodified livekit-client on the bare page.
import assert from 'node:assert/strict';

/** Joins a meeting in a new page of `browser`; other options go to the page's `connect`. The page has the participant's id as `identity`. */
export async function joinWithSdk({ appliance, bare, browser, meeting, name, scripts = [], ...options }) {
  const { media_server_url: url, session_token: token } = await appliance.join(meeting, name);
  const page = await browser.page(bare.url, scripts);
  assert.equal(await page.evaluate((given) => window.connect(given), { url, token, ...options }), 'connected');
  page.identity = await page.evaluate(() => window.__kaigi.room.localParticipant.identity);
  return page;
}
