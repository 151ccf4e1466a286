"""A participant with the LiveKit Python SDK that says and hears data packets, driven by lines on stdin, answering lines of JSON on stdout.

send COUNT EVERY_MS   says COUNT reliable and COUNT lossy messages, numbered; answers when done
ping COUNT EVERY_MS   the same with reliable ones alone
heard                 what was heard since the last time: [topic, number, delay in ms, sender] in the order it came
quit                  leaves
"""

import asyncio
import json
import struct
import sys
import time

from livekit import rtc

HEAD = struct.Struct("<Id")


def say(answer):
    print(json.dumps(answer), flush=True)


async def main(url, token):
    room = rtc.Room()
    heard = []

    @room.on("data_received")
    def received(packet):
        number, sent = HEAD.unpack_from(packet.data)
        sender = packet.participant.identity if packet.participant else None
        heard.append([packet.topic, number, time.time() * 1000 - sent, sender])

    @room.on("disconnected")
    def disconnected(reason):
        print("disconnected:", reason, file=sys.stderr, flush=True)

    await room.connect(url, token)
    say({"identity": room.local_participant.identity})
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        match line[0]:
            case "send" | "ping":
                kinds = {"send": [("reliable", True), ("lossy", False)], "ping": [("ping", True)]}[line[0]]
                start = time.monotonic()
                for number in range(int(line[1])):
                    for topic, reliable in kinds:
                        data = HEAD.pack(number, time.time() * 1000)
                        await room.local_participant.publish_data(data, reliable=reliable, topic=topic)
                    due = start + (number + 1) * float(line[2]) / 1000
                    await asyncio.sleep(max(0, due - time.monotonic()))
                say({"sent": int(line[1])})
            case "heard":
                say({"heard": heard})
                heard = []
            case _:
                break
    await room.disconnect()


asyncio.run(main(*sys.argv[1:3]))
