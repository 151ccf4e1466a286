"""What WHIP and WHEP clients share: the requests of a session over HTTP, and lines of JSON about what happens."""

import asyncio
import json
import sys
import urllib.parse
import urllib.request


class Session:
    """A session: POST an offer, PATCH a fragment, DELETE."""

    def __init__(self, door, token):
        self.door, self.token = door, token
        self.url = self.tag = None

    def request(self, method, url, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Authorization"] = f"Bearer {self.token}"
        data = body.encode() if body is not None else None
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read().decode()

    def open(self, offer):
        """Answers the other side's description."""
        status, headers, answer = self.request("POST", self.door, offer, Content_Type="application/sdp")
        assert status == 201 and headers["Content-Type"] == "application/sdp", (status, headers)
        assert int(headers["Content-Length"]) == len(answer), headers
        self.url, self.tag = urllib.parse.urljoin(self.door, headers["Location"]), headers["ETag"]
        return answer

    def trickle(self, fragment):
        return self.request("PATCH", self.url, fragment, Content_Type="application/trickle-ice-sdpfrag", If_Match=self.tag)[0]

    def close(self):
        return self.request("DELETE", self.url)[0]


def tell(**what):
    print(json.dumps(what), flush=True)


async def end_of_input():
    """Waits until whoever started this closes our standard input, or is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
