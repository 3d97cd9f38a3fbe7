"""Minutes of load on `dynexit serve`: memory over time, and every text compared.

    python benchmarks/endurance.py [--minutes 10] [--streams 32]

Each request is first asked alone; then all streams ask for one after the other, drawn at random,
and every answer must be the one that came alone. Every eighth request hangs up in mid-text. What is
printed is a line a minute; the exit code is 1 where a text differed or the server did not rest.
"""

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from itertools import product
from time import perf_counter
from urllib.request import urlopen

import openai
from serving import PROMPTS, served

METHODS = (
    "auto",
    "vanilla",
    "del",
    "layerskip:exit_layer=3,speculation_length=3",
)
RULES = ({"temperature": 0}, {"temperature": 0.8, "seed": 3}, {"temperature": 1, "seed": 4, "n": 2})
LENGTHS = (8, 40, 120)
HANG_UP = 8  # one in so many
REST = 60.0  # seconds that the server may take to come to rest


def requests(model):
    """Every combination."""
    return [
        {
            "model": model,
            "prompt": prompt,
            "max_tokens": length,
            "extra_body": {"dynexit": {"method": method}},
            **rule,
        }
        for prompt, method, rule, length in product(PROMPTS, METHODS, RULES, LENGTHS)
    ]


async def written(client, asked, hang_up=False):
    """The texts of a streamed request by their index; None for one that was hung up on."""
    stream = await client.completions.create(**asked, stream=True)
    parts, count = {}, 0
    async for chunk in stream:
        count += 1
        for choice in chunk.choices:
            parts.setdefault(choice.index, []).append(choice.text)
        if hang_up and count == 3:
            await stream.close()
            return None
    return {index: "".join(text) for index, text in sorted(parts.items())}


async def load(client, asked, alone, until, counts):
    """One stream: a request after the other."""
    while perf_counter() < until:
        index, hang_up = random.randrange(len(asked)), random.randrange(HANG_UP) == 0
        texts = await written(client, asked[index], hang_up)
        counts["hung up" if texts is None else "same" if texts == alone[index] else "other"] += 1


async def watch(process, began, minutes, counts):
    """A line a minute."""
    for minute in range(minutes):
        await asyncio.sleep(max(0.0, began + 60 * minute - perf_counter()))
        say(f"minute {minute}", process, counts)


def say(when, process, counts):
    """Memory, and what has been asked so far."""
    told = "  ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    sys.stdout.write(f"{when}: {process.memory_info().rss / 1e6:.0f} MB  {told}\n")
    sys.stdout.flush()


async def at_rest(url):
    """Whether the server has nothing left to do before long."""
    end = perf_counter() + REST
    while perf_counter() < end:
        with urlopen(f"{url}/health") as reply:
            told = json.load(reply)
        if not told["running"] and not told["waiting"]:
            return True
        await asyncio.sleep(0.2)
    return False


async def endure(process, model, url, options):
    """Whether all went well."""
    counts = Counter(same=0, other=0)
    base = {"base_url": f"{url}/v1", "api_key": "none", "max_retries": 0, "timeout": 300}
    async with openai.AsyncOpenAI(**base) as client:
        say("before", process, counts)
        asked = requests(model)
        alone = [await written(client, one) for one in asked]
        began = perf_counter()
        until = began + 60 * options.minutes
        streams = (load(client, asked, alone, until, counts) for _ in range(options.streams))
        await asyncio.gather(watch(process, began, options.minutes, counts), *streams)
    rested = await at_rest(url)
    say(f"after {options.minutes} minutes, {'at rest' if rested else 'BUSY'}", process, counts)
    return rested and not counts["other"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--streams", type=int, default=32)
    options = parser.parse_args()
    with served("--name", "bundled") as (process, model, url):
        went_well = asyncio.run(endure(process, model, url, options))
    sys.exit(not went_well)


if __name__ == "__main__":
    main()
