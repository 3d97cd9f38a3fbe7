"""Latency and throughput of `dynexit serve` under concurrent streams, with the real client.

    python benchmarks/serving.py [--model FOLDER] [--method NAME] [--streams 1,4,16,32] [--json]

A server process of its own; every stream asks again as soon as it has its answer, until the time
is over. Time to first token counts from the request; the time between tokens is a round's, shared
among its tokens.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from itertools import cycle
from time import perf_counter

import numpy as np
import openai
import psutil

PROMPTS = (
    "Question: A baker makes 12 trays of rolls with 9 rolls on each tray. She sells 70 rolls. How "
    "many rolls are left?\nAnswer:",
    "German: Ich habe gestern meinen alten Freund in der Stadt gesehen.\nEnglish:",
    "def area(width, height):\n",
    "The old house stood at the end of the lane, and nobody in the village",
)


@contextmanager
def served(*arguments):
    """A server of its own: its process, the model's name, and where it is."""
    command = [sys.executable, "-m", "dynexit", "serve", "--port", "0", "--log-level", "warning"]
    server = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in server.stderr if "is served at" in line)
        model, url = re.match(r"(.*) is served at (http://\S+?)/ ", line).groups()
        yield psutil.Process(server.pid), model, url
    finally:
        server.terminate()
        server.wait()


async def stream(client, model, prompt, tokens, method, seen):
    """One request; appends what was seen of it."""
    began, latest, count = perf_counter(), None, 0
    chunks = await client.completions.create(
        model=model,
        prompt=prompt,
        max_tokens=tokens,
        temperature=0,
        stream=True,
        extra_body={"dynexit": {"trace": True} | ({"method": method} if method else {})},
    )
    async for chunk in chunks:
        now, told = perf_counter(), chunk.dynexit
        if not told or "tokens" not in told:
            continue
        new = sum(token["id"] >= 0 for token in told["tokens"])
        count += new
        if latest is None:
            seen["first"].append(now - began)
        else:
            seen["between"] += [(now - latest) / new] * new if new else []
        latest = now
    seen["tokens"] += count


async def load(url, model, streams, seconds, tokens, method):
    """So many streams, each starting anew until the time is over."""
    seen = {"first": [], "between": [], "tokens": 0}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=600) as client:
        began = perf_counter()

        async def one(prompts):
            while perf_counter() - began < seconds:
                await stream(client, model, next(prompts), tokens, method, seen)

        await asyncio.gather(
            *(one(cycle(PROMPTS[i % 4 :] + PROMPTS[: i % 4])) for i in range(streams))
        )
        seen["seconds"] = perf_counter() - began
    return seen


def row(streams, seen, megabytes):
    """A line of the table."""
    first = np.percentile(seen["first"], (50, 99)) * 1e3
    between = np.percentile(seen["between"], (50, 99)) * 1e3
    return {
        "streams": streams,
        "requests": len(seen["first"]),
        "first_ms_p50": first[0],
        "first_ms_p99": first[1],
        "between_ms_p50": between[0],
        "between_ms_p99": between[1],
        "tokens_per_second": seen["tokens"] / seen["seconds"],
        "server_megabytes": megabytes,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--method")
    parser.add_argument("--streams", default="1,4,16,32")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    given = [options.model] if options.model else ["--name", "bundled"]
    given += ["--one-by-one"] if options.one_by_one else []
    with served(*given) as (process, model, url):
        asyncio.run(load(url, model, 2, 1.0, 16, options.method))  # warm up
        for streams in map(int, options.streams.split(",")):
            run = load(url, model, streams, options.seconds, options.tokens, options.method)
            told = row(streams, asyncio.run(run), process.memory_info().rss / 1e6)
            text = json.dumps(told) if options.json else "  ".join(
                f"{name} {value:.0f}" if value >= 100 else f"{name} {value:.3g}"
                for name, value in told.items()
            )  # fmt: skip
            sys.stdout.write(text + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
