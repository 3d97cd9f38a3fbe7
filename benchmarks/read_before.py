"""What a server gains by what it has read and written before, with the real client.

    python benchmarks/read_before.py turns|crowd|repeats|memory [--model FILE] [--minutes 10]

`turns`: the time to the first token of ten turns of a conversation. `crowd`: 32 clients at once
that share a system prompt of 1,000 tokens. Both with a prefix cache and without. `repeats`: steps
of an agent, asked twice, with drafts from earlier texts and without. `memory`: ever new prompts
against a bound, a line a minute; the exit code is 1 where the bound was passed.
"""

import argparse
import asyncio
import random
import re
import sys
from itertools import count, pairwise
from time import perf_counter
from urllib.request import urlopen

import numpy as np
import openai
from serving import served

TOPICS = [
    "tide",
    "bread",
    "bridges",
    "bees",
    "clocks",
    "maps",
    "rivers",
    "salt",
    "glass",
    "wool",
    "rain",
    "paper",
]
ACTIONS = ("list_files", "read_file", "run_tests", "search", "edit_file", "write_report")
CLIENTS = 32


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def words(number, seed=0):
    """So many words of plain sentences, different for every seed."""
    chance = random.Random(seed)
    said = ("the keeper", "a traveller", "my neighbour", "the old captain", "our teacher")
    did = ("wrote about", "asked for", "never forgot", "sold", "explained", "looked for")
    text = []
    while len(text) < number:
        sentence = f"{chance.choice(said)} {chance.choice(did)} {chance.choice(TOPICS)} "
        text += f"{sentence}in the year {chance.randint(1700, 1999)}.".split()
    return " ".join(text[:number])


async def ask(client, model, messages, tokens, **asked):
    """The text, seconds to its first token and in all, and the usage."""
    began, first, text, usage, counts = perf_counter(), None, "", None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=messages,
        max_tokens=tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        **asked,
    )
    async for chunk in stream:
        usage, counts = chunk.usage or usage, getattr(chunk, "dynexit", None) or counts
        for choice in chunk.choices:
            if choice.delta.content:
                first = first or perf_counter() - began
                text += choice.delta.content
    return text, first or 0.0, perf_counter() - began, usage, counts


def client_of(url):
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)


async def turns(url, model):
    """Ten turns of one conversation: what each took to its first token."""
    messages = [{"role": "system", "content": f"You know these notes: {words(120)}"}]
    async with client_of(url) as client:
        await ask(client, model, [{"role": "user", "content": "Hello."}], 4)
        for turn, topic in enumerate(TOPICS[:10], 1):
            messages.append({"role": "user", "content": f"{words(30, turn)} What of {topic}?"})
            text, first, _, usage, _ = await ask(client, model, messages, 48)
            messages.append({"role": "assistant", "content": text})
            if turn in (1, 5, 10):
                known = usage.prompt_tokens_details.cached_tokens
                told = f"{usage.prompt_tokens} tokens, {known} known"
                say(f"  turn {turn}: {told}, first token after {first * 1e3:.0f} ms")
    return text


async def crowd(url, model):
    """32 clients at once over one system prompt."""
    system = {"role": "system", "content": words(640)}
    async with client_of(url) as client:
        await ask(client, model, [{"role": "user", "content": "Hello."}], 4)
        began = perf_counter()
        found = await asyncio.gather(
            *(
                ask(client, model, [system, {"role": "user", "content": f"What of {n}?"}], 16)
                for n in range(CLIENTS)
            )
        )
        seconds = perf_counter() - began
    first = np.percentile([one[1] for one in found], (50, 99))
    prompt = found[0][3].prompt_tokens
    known = sum(one[3].prompt_tokens_details.cached_tokens > 0 for one in found)
    say(
        f"  {prompt} tokens each, {known} of {CLIENTS} found their beginning; first token after "
        f"{first[0]:.2f} s (median), {first[1]:.2f} s (99th percentile); all after {seconds:.1f} s"
    )
    return [one[0] for one in found]


def steps(run):
    """Prompts of an agent: a task, what it has done, and what to do next; `run` names the run."""
    for task, topic in enumerate(TOPICS):
        log = f"Run {run}. Task {task}: collect what the files say about {topic}.\n"
        for step, action in enumerate(ACTIONS[: 2 + task % 4]):
            log += f"Step {step}: {action}({topic!r}) -> {words(12, task * 10 + step)}\n"
        asked = "Say what was found so far, then what the next step is and why."
        yield [{"role": "user", "content": f"{log}{asked}"}]


async def repeats(url, model):
    """Tokens a second of an agent's steps, at first, again, and in a run of another name."""
    texts = []
    async with client_of(url) as client:
        await ask(client, model, [{"role": "user", "content": "Hello."}], 4)
        for name, run in (("first", 1), ("again", 1), ("another run", 2)):
            done = [await ask(client, model, step, 96) for step in steps(run)]
            texts.append([one[0] for one in done])
            tokens = sum(one[3].completion_tokens for one in done)
            rounds = sum(one[4]["rounds"] for one in done)
            seconds = sum(one[4]["decode_seconds"] for one in done)
            say(
                f"  {name}: {tokens / seconds:.0f} tokens a second of decoding, "
                f"{tokens / rounds:.2f} a round; {sum(one[2] for one in done):.1f} s in all"
            )
    same = sum(a == b for a, b in zip(texts[1], texts[2], strict=True))
    say(f"  {same} of {len(texts[1])} texts of the other run are those of the first")
    return texts


def figure(url, name):
    with urlopen(f"{url}/metrics") as reply:
        told = reply.read().decode()
    found = re.search(rf"^dynexit_prefix_cache_{name} (\S+)$", told, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def memory(url, model, process, minutes, streams=8):
    """The most bytes that the cache held, looked at ten times a second."""
    until, numbers, most = perf_counter() + 60 * minutes, count(), 0.0

    async def one(client):
        while perf_counter() < until:
            number = next(numbers)
            text = words(random.randrange(50, 500), number % 97)
            message = [{"role": "user", "content": text}]
            await ask(client, model, message, 8 + number % 40)

    async def watch():
        nonlocal most
        due = perf_counter()
        while perf_counter() < until:
            held = await asyncio.to_thread(figure, url, "bytes")
            most = max(most, held)
            if perf_counter() >= due:
                due += 60
                dropped = await asyncio.to_thread(figure, url, "evicted_blocks_total")
                say(
                    f"  process {process.memory_info().rss / 1e6:.0f} MB, cache {held / 1e6:.1f} "
                    f"MB, at most {most / 1e6:.1f}; {dropped:.0f} blocks dropped; "
                    f"{next(numbers)} texts asked for"
                )
            await asyncio.sleep(0.1)

    async with client_of(url) as client:
        await asyncio.gather(watch(), *(one(client) for _ in range(streams)))
    return most, figure(url, "limit_bytes")


def compare(measure, ways, given):
    """Measure servers of these options in turn; whether they wrote the same texts."""
    texts = []
    for options in ways:
        say(" ".join(options))
        with served(*given, *options) as (_, model, url):
            texts.append(asyncio.run(measure(url, model)))
    same = all(one == other for one, other in pairwise(texts))
    say("the same texts" if same else "OTHER TEXTS")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("turns", "crowd", "repeats", "memory"))
    parser.add_argument("--model", required=True, help="with a chat template")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--cache-memory", default="64MB")
    options = parser.parse_args()
    given = [options.model, "--name", "model"]
    if options.what == "memory":
        with served(*given, "--cache-memory", options.cache_memory) as (process, model, url):
            most, limit = asyncio.run(memory(url, model, process, options.minutes))
        say(f"at most {most:.0f} of {limit:.0f} bytes")
        return most > limit
    if options.what == "repeats":
        ways = (("--earlier-texts", "none"), ("--earlier-texts", "own"))
        return not compare(repeats, ways, given)
    ways = (("--cache-memory", "0"), ("--cache-memory", "1GB"))
    return not compare(turns if options.what == "turns" else crowd, ways, given)


if __name__ == "__main__":
    sys.exit(main())
