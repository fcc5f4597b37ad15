#!/usr/bin/env python3
"""Clients that ask a running server again as soon as they are answered; answers a second for each number of them.

usage: http_load.py URL CLIENTS... [--seconds S] [--pictures N]

Each request brings a picture of its own, all of them made before anything is measured. The clients share a few processes, so
that they are not what is measured.
"""

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import time

import aiohttp
import numpy
from PIL import Image

PROCESSES = 4
SETTINGS = {"text": "a red circle and two white squares near a tree", "task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "max_new_tokens": 40}


def picture(seed):
    random = numpy.random.default_rng(seed)
    small = random.integers(0, 256, (30, 40, 3), dtype=numpy.uint8)
    image = Image.fromarray(small).resize((640, 480), Image.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


async def ask(session, url, jpeg):
    form = aiohttp.FormData()
    form.add_field("files", jpeg, filename="picture.jpg", content_type="image/jpeg")
    form.add_field("settings", json.dumps({"settings": SETTINGS}))
    start = time.perf_counter()
    async with session.post(f"{url}/inference_image", data=form) as response:
        body = await response.read()
        assert response.status == 200, (response.status, body[:300])
    return time.perf_counter() - start


async def measure(url, clients, pictures, seconds):
    taken, end, pictures = [], time.perf_counter() + seconds, iter(pictures)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:

        async def client():
            while time.perf_counter() < end and (jpeg := next(pictures, None)):
                taken.append(await ask(session, url, jpeg))

        await asyncio.gather(*(client() for _ in range(clients)))
    return taken


def work(url, clients, pictures, seconds, begin, results):
    begin.wait()
    start = time.perf_counter()
    taken = asyncio.run(measure(url, clients, pictures, seconds))
    results.put((taken, time.perf_counter() - start))


def run(url, clients, pictures, seconds):
    """Times of all requests, and how long they took together."""
    processes = min(clients, PROCESSES)
    begin, results = multiprocessing.Barrier(processes), multiprocessing.Queue()
    for number in range(processes):
        share = clients // processes + (number < clients % processes)
        arguments = (url, share, pictures[number::processes], seconds, begin, results)
        multiprocessing.Process(target=work, args=arguments).start()
    found = [results.get() for _ in range(processes)]
    return sorted(time for taken, _ in found for time in taken), max(elapsed for _, elapsed in found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("clients", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--pictures", type=int, default=6000)
    options = parser.parse_args()
    with multiprocessing.Pool(os.cpu_count()) as pool:
        pictures = pool.map(picture, range(options.pictures), chunksize=20)
    warm_up, pictures = pictures[:64], pictures[64:]
    run(options.url, 16, warm_up, 2)
    for clients in options.clients:
        times, elapsed = run(options.url, clients, pictures, options.seconds)
        if len(times) + clients > len(pictures):
            raise SystemExit(f"{clients} clients had no more of {options.pictures} --pictures")
        pictures = pictures[len(times) + clients :]
        rate, median, worst = len(times) / elapsed, times[len(times) // 2] * 1e3, times[-1] * 1e3
        print(f"{clients:3} clients: {rate:7.1f} answers/s, median {median:7.1f} ms, worst {worst:7.1f} ms", flush=True)


if __name__ == "__main__":
    main()
