"""A participant that uses the unmodified PyPI `livekit` (libwebrtc): publishes a tone and a moving picture, receives everything.

Usage: livekit_client.py URL TOKEN SECONDS
Prints a JSON object per second with what it received until then, by identity: frames, and sound louder than silence.
"""

import asyncio
import json
import math
import struct
import sys

from livekit import rtc

WIDTH, HEIGHT, FPS = 320, 180, 10
RATE, TONE_HZ, CHUNK = 48_000, 440, 480


async def tone(source):
    step = 0
    while True:
        samples = (int(8_000 * math.sin(2 * math.pi * TONE_HZ * (step + n) / RATE)) for n in range(CHUNK))
        step += CHUNK
        await source.capture_frame(rtc.AudioFrame(struct.pack(f"<{CHUNK}h", *samples), RATE, 1, CHUNK))


async def picture(source):
    shade = 0
    while True:
        shade = (shade + 5) % 256
        luma, chroma = bytes([shade]) * (WIDTH * HEIGHT), bytes([128]) * (WIDTH * HEIGHT // 2)
        source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, luma + chroma))
        await asyncio.sleep(1 / FPS)


async def main(url, token, seconds):
    room = rtc.Room()
    received = {}
    tasks = set()

    def entry(participant):
        return received.setdefault(participant.identity, {"name": participant.name, "frames": 0, "loud": 0})

    def begin(coroutine):
        task = asyncio.ensure_future(coroutine)
        tasks.add(task)

    async def watch(track, of):
        async for _ in rtc.VideoStream(track):
            of["frames"] += 1

    async def listen(track, of):
        async for event in rtc.AudioStream(track):
            of["loud"] += any(abs(sample) > 500 for sample in event.frame.data[:48])

    @room.on("track_subscribed")
    def subscribed(track, _publication, participant):
        watching = watch if track.kind == rtc.TrackKind.KIND_VIDEO else listen
        begin(watching(track, entry(participant)))

    await room.connect(url, token)
    audio, video = rtc.AudioSource(RATE, 1), rtc.VideoSource(WIDTH, HEIGHT)
    me = room.local_participant
    microphone = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    camera = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False)
    begin(tone(audio))
    begin(picture(video))
    await me.publish_track(rtc.LocalAudioTrack.create_audio_track("tone", audio), microphone)
    await me.publish_track(rtc.LocalVideoTrack.create_video_track("picture", video), camera)
    for _ in range(seconds):
        await asyncio.sleep(1)
        print(json.dumps({"identity": me.identity, "received": received}), flush=True)
    for task in tasks:
        task.cancel()
    await room.disconnect()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
