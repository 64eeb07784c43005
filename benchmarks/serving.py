"""Throughput and latency of the server, under a load that does not wait for answers.

    RECALIGN_DATA=/path/to/data python benchmarks/serving.py [--model llama] [--seconds 10] [--threads 2]

First, without HTTP: 32 requests for one item each, scored one by one and by the model thread. Then, with real sockets
in a process of its own: the capacity (32 clients that ask as fast as they are answered), and requests at 50, 80 and
120 % of it, sent at random times whether or not earlier ones are answered. Weights are random: they cost the same as
tuned ones. --model llama takes a Llama of 134 million parameters instead of nano, --capacity says how many may wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

import numpy as np
import torch
from setting import DTYPES, Movies, arguments, llama

from recalign.data.samples import CandidateList
from recalign.models.config import NanoConfig
from recalign.models.nano import init_model
from recalign.models.onednn import accelerate_linears
from recalign.recommender import UNSEEN_USER, Recommender
from recalign.scoring.yes_no import YesNoScorer
from recalign.seeding import generator
from recalign.serving.app import create_app
from recalign.serving.server import Server, listen
from recalign.serving.worker import Limits, ModelThread

TOGETHER = 32
BAR = 3.5
LOADS = (0.5, 0.8, 1.2, 0.5)  # after the overload it must be as before
LONG = 60.0
HEAD = "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"


def build(options: argparse.Namespace) -> tuple[Recommender, list[CandidateList]]:
    """A recommender, and one-item questions of real histories."""
    movies = Movies.load()
    dtype, catalog = DTYPES[options.dtype], movies.samples.catalog
    model = llama(dtype)
    if options.model == "nano":
        model = init_model(NanoConfig(), movies.encoder.tokenizer).to(dtype).eval()
    accelerate_linears(model)
    recommender = Recommender(YesNoScorer(model, movies.encoder, catalog, name="m"), catalog)
    samples = movies.samples.samples("test")[:256]
    return recommender, [CandidateList(UNSEEN_USER, sample.history, (sample.item_id,)) for sample in samples]


def batching(recommender: Recommender, lists: list[CandidateList], repeats: int, what: str) -> None:
    """One by one against the model thread, in turns, so that both meet the same noise of the machine."""
    thread = ModelThread({"m": recommender.scorer})
    thread.start()

    def alone() -> None:
        for one in lists:
            recommender.scorer.score([one])

    def together() -> None:
        for future in [thread.submit("m", [one], time.monotonic() + LONG) for one in lists]:
            future.result()

    times: dict[str, list[float]] = {"alone": [], "together": []}
    for _ in range(repeats + 1):
        for name, run in (("alone", alone), ("together", together)):
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    thread.close(LONG)
    alone_rate, rate = (len(lists) / min(times[name][1:]) for name in ("alone", "together"))
    verdict = "meets" if rate >= BAR * alone_rate else "MISSES"
    print(f"{len(lists)} one-item requests {what}: {alone_rate:.0f}/s one by one, {rate:.0f}/s by the model thread")
    print(f"  {rate / alone_rate:.2f} times as many; {verdict} the bar of {BAR}")


def serve(options: argparse.Namespace, pipe: Connection) -> None:
    """A server in a process of its own; says its port and what to ask."""
    torch.set_num_threads(options.threads)
    recommender, lists = build(options)
    listener = listen("127.0.0.1", 0)
    bodies = [
        {
            "likes": [f"id:{entry.item_id}" for entry in asked.history if entry.liked],
            "dislikes": [f"id:{entry.item_id}" for entry in asked.history if not entry.liked],
            "items": [f"id:{asked.item_ids[0]}"],
        }
        for asked in lists
    ]
    pipe.send((listener.getsockname()[1], [json.dumps(body).encode() for body in bodies]))
    asyncio.run(Server(create_app({"m": recommender}, limits=Limits(capacity=options.capacity)), listener).serve())


@dataclass
class Tally:
    """What came back: seconds by status."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of answers with 200


class Client:
    """Keeps connections open and uses one for one request at a time."""

    def __init__(self, port: int, bodies: list[bytes]) -> None:
        self._port, self._bodies = port, bodies
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, number: int, tally: Tally) -> None:
        """One request, from the moment when it should be sent until its whole answer."""
        start, body = time.perf_counter(), self._bodies[number % len(self._bodies)]
        tally.sent += 1
        reader, writer = await self._connection()
        writer.write(f"{HEAD}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        lines = answer.decode().lower().split("\r\n")
        (length,) = (int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
        await reader.readexactly(length)
        self._idle.append((reader, writer))
        status = int(lines[0].split()[1])
        tally.statuses[status] += 1
        if status == 200:
            tally.seconds.append(time.perf_counter() - start)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that is not in use; the server closes those that were idle for some seconds."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


async def closed_loop(client: Client, seconds: float) -> float:
    """Answers a second with 32 clients that wait for each answer."""
    tally, end = Tally(), time.perf_counter() + seconds

    async def keep_asking(number: int) -> None:
        while time.perf_counter() < end:
            await client.ask(number + tally.sent, tally)

    await asyncio.gather(*(keep_asking(number) for number in range(TOGETHER)))
    return tally.statuses[200] / seconds


async def open_loop(client: Client, rate: float, seconds: float) -> Tally:
    """Send `rate` requests a second at random times; wait for none before the next."""
    tally = Tally()
    gaps = generator(0, "benchmark", f"{rate}").exponential(1 / rate, round(rate * seconds))
    due = time.perf_counter() + np.cumsum(gaps)
    running: list[Awaitable[None]] = []
    for number, at in enumerate(due.tolist()):
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        running.append(asyncio.ensure_future(client.ask(number, tally)))
    await asyncio.gather(*running)
    return tally


async def measure(port: int, bodies: list[bytes], seconds: float) -> None:
    """Capacity, then the loads."""
    client = Client(port, bodies)
    await closed_loop(client, 1.0)
    capacity = await closed_loop(client, seconds)
    print(f"capacity over HTTP: {capacity:.0f} requests/s")
    for load in LOADS:
        tally = await open_loop(client, load * capacity, seconds)
        p50, p95, p99 = (1000 * np.percentile(tally.seconds, q) for q in (50, 95, 99))
        others = ", ".join(f"{count} × {status}" for status, count in sorted(tally.statuses.items()) if status != 200)
        print(
            f"  {load:.0%} = {load * capacity:.0f}/s: p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms; "
            f"sent {tally.sent}, answered {tally.statuses.total()}{f' (of these {others})' if others else ''}"
        )


def main() -> None:
    """Command line."""
    options = arguments(__doc__ or "", model="nano", seconds=10.0, capacity=2 * TOGETHER)
    recommender, lists = build(options)
    batching(recommender, lists[:TOGETHER], options.repeats, "of as many users")
    of_one = [replace(lists[0], item_ids=(item,)) for item in recommender.catalog.ids[:TOGETHER]]
    batching(recommender, of_one, options.repeats, "of one user")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(options, theirs), daemon=True)
    process.start()
    port, bodies = ours.recv()
    asyncio.run(measure(port, bodies, options.seconds))
    process.terminate()
    process.join()
    print(f"stopped by SIGTERM: exit {process.exitcode}")


if __name__ == "__main__":
    main()
