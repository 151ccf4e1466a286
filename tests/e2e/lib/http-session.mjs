// A session of WHIP or WHEP from Node: POST an offer, DELETE. For clients that are no browser and have the same peer connection.

/** Joins `meeting` as a new guest: what `HttpSession.open` needs for a door, 'whip' or 'whep'. */
export async function invitation(appliance, meeting, name, door) {
  const { session_token: token } = await appliance.join(meeting, name);
  return { at: `${appliance.url}/${door}/${meeting.id}`, token };
}

/** A session that has begun: `answer` is the description to take. */
export class HttpSession {
  /** Opens the door with an offer that has its candidates. */
  static async open({ at, token }, offer) {
    const self = new HttpSession();
    self.authorization = `Bearer ${token}`;
    const response = await self.request('POST', at, { body: offer, headers: { 'content-type': 'application/sdp' } });
    self.answer = await response.text();
    if (response.status !== 201) throw new Error(`${at}: ${response.status} ${self.answer}`);
    self.url = new URL(response.headers.get('location'), at).href;
    return self;
  }

  request(method, url, { headers = {}, ...rest } = {}) {
    return fetch(url, { method, headers: { ...headers, authorization: this.authorization }, ...rest });
  }

  /** Ends it; the status. */
  async close() {
    return (await this.request('DELETE', this.url)).status;
  }
}
