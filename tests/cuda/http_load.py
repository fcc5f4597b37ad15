#!/usr/bin/env python3
"""Clients that ask a running server again as soon as they are answered; answers a second for each number of them.

usage: http_load.py URL CLIENTS... [--seconds S]
"""

import argparse
import asyncio
import io
import json
import time

import aiohttp
import numpy
from PIL import Image


def picture(seed):
    random = numpy.random.default_rng(seed)
    small = random.integers(0, 256, (30, 40, 3), dtype=numpy.uint8)
    image = Image.fromarray(small).resize((640, 480), Image.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


async def ask(session, url, seed):
    form = aiohttp.FormData()
    form.add_field("files", picture(seed), filename=f"{seed}.jpg", content_type="image/jpeg")
    settings = {"text": "a red circle and two white squares near a tree", "task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "max_new_tokens": 40}
    form.add_field("settings", json.dumps({"settings": settings}))
    start = time.perf_counter()
    async with session.post(f"{url}/inference_image", data=form) as response:
        body = await response.read()
        assert response.status == 200, (response.status, body[:300])
    return time.perf_counter() - start


async def measure(url, clients, seconds):
    taken, end = [], time.perf_counter() + seconds
    seeds = iter(range(clients * 1000, 10**9))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:

        async def client():
            while time.perf_counter() < end:
                taken.append(await ask(session, url, next(seeds)))

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        elapsed = time.perf_counter() - start
    taken.sort()
    print(f"{clients:3} clients: {len(taken) / elapsed:7.1f} answers/s, median {taken[len(taken) // 2] * 1e3:7.1f} ms, worst {taken[-1] * 1e3:7.1f} ms", flush=True)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("clients", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    await measure(options.url, 2, 1)
    for clients in options.clients:
        await measure(options.url, clients, options.seconds)


asyncio.run(main())
