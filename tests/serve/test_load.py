"""Many clients at once: every answer is the one that the request gets alone, and nobody hangs."""

import asyncio
import gc
import json
import random
import socket
import time
from contextlib import closing

import openai
import psutil
import pytest
from running import PROMPTS

import dynexit
from dynexit.decoding.sequence import COURTEOUS
from dynexit.model.cache import KVCache
from dynexit.model.native.transformer import NativeCache
from dynexit.serve import engine as serving_engine
from dynexit.serve.app import create_app
from dynexit.serve.metrics import Metrics
from dynexit.serve.server import open_socket
from dynexit.serve.settings import Settings
from dynexit.serve.work import Question, Text

METHODS = (
    "vanilla",
    "del:draft_vocabulary=2048,max_layer=8",
    "layerskip:exit_layer=3,speculation_length=3",
    "finite-state",
)
LONG = {"model": "bundled", "prompt": PROMPTS[3], "max_tokens": 1_500, "temperature": 0}


def requests(count, seed=0):
    """So many different requests, greedy and seeded."""
    chance = random.Random(seed)
    for number in range(count):
        yield (
            {
                "prompt": chance.choice(PROMPTS),
                "max_tokens": chance.randint(1, 32),
                "temperature": chance.choice((0.0, 0.8)),
                "seed": number % 7,
            },
            METHODS[number % len(METHODS)],
        )


def alone(lm, asked, method):
    options = {name: value for name, value in asked.items() if name not in ("prompt", "max_tokens")}
    return lm.generate(asked["prompt"], method, max_new_tokens=asked["max_tokens"], **options).text


async def ask(client, asked, method, stop_after=None):
    """The streamed text; hung up after so many chunks, where that is given."""
    stream = await client.completions.create(
        model="bundled", stream=True, extra_body={"dynexit": {"method": method}}, **asked
    )
    text, count = "", 0
    async for chunk in stream:
        text += chunk.choices[0].text
        count += 1
        if count == stop_after:
            await stream.close()
            return None
    return text


async def all_of(server, asked, killed=0):
    base = {"base_url": f"{server.url}/v1", "api_key": "none", "max_retries": 0, "timeout": 240}
    async with openai.AsyncOpenAI(**base) as client:
        waiting = [ask(client, *one) for one in asked]
        gone = [
            ask(client, {"prompt": PROMPTS[0], "max_tokens": 500, "seed": 1}, METHODS[1], 3)
            for _ in range(killed)
        ]
        return (await asyncio.gather(*waiting, *gone))[: len(waiting)]


def until(condition, seconds=20.0):
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_event_does_not_wait_for_the_one_before_to_be_acknowledged(host):
    with (
        closing(open_socket(host, 0)) as listening,
        closing(socket.create_connection(listening.getsockname()[:2])),
        closing(listening.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def exposition(server):
    """What is counted, as text."""
    return server.service.metrics.exposition.decode()


def idle(server):
    return server.engine.running == server.engine.waiting == 0


def test_32_streams_at_once_beside_clients_that_leave(lm, server):
    asked = list(requests(32))
    texts = asyncio.run(all_of(server, asked, killed=6))
    assert texts == [alone(lm, *one) for one in asked]
    until(lambda: idle(server))


def cache_bytes():
    return sum(thing.bytes for thing in gc.get_objects() if type(thing) in (NativeCache, KVCache))


def test_a_text_that_has_ended_leaves_no_memory_to_the_collector(serving, unhurried):
    asked = {"model": "bundled", "prompt": "Hello", "max_tokens": 4}
    hurry = {"dynexit": {"deadline_seconds": 0.1}}
    with serving(unhurried) as server:
        client = server.client()
        gc.collect()
        gc.disable()
        try:
            before = cache_bytes()
            for _ in range(2):
                client.completions.create(**asked, n=2)
                list(client.completions.create(**asked, n=2, stream=True))
                with pytest.raises(openai.InternalServerError):
                    client.completions.create(**LONG, extra_body=hurry)
                left = client.completions.create(**LONG, stream=True)
                for _ in range(3):  # so that a round has ended, not the prefill alone
                    next(iter(left))
                left.close()
                read_late = client.completions.create(**asked, stream=True)
                until(lambda: idle(server))  # ended before its client has read a token, or left
                next(iter(read_late))
                read_late.close()
            until(lambda: idle(server))
            until(lambda: cache_bytes() <= before)
        finally:
            gc.enable()


@pytest.mark.slow
def test_minutes_of_load_leave_memory_flat(lm, server):
    asked = list(requests(64))
    expected = [alone(lm, *one) for one in asked]
    process, sizes = psutil.Process(), []
    end = time.monotonic() + 120
    while time.monotonic() < end:
        order = random.sample(range(64), 32)
        texts = asyncio.run(all_of(server, [asked[i] for i in order], killed=4))
        assert texts == [expected[i] for i in order]
        until(lambda: idle(server))
        gc.collect()
        sizes.append(process.memory_info().rss / 1e6)
    settled = sizes[len(sizes) // 4 :]
    assert max(settled[-5:]) < min(settled[:5]) + 30, sizes  # MB


@pytest.mark.parametrize("stream", [True, False])
def test_work_for_a_client_that_is_gone_ends(serving, unhurried, stream):
    with serving(unhurried) as server:
        host, port = server.url.removeprefix("http://").split(":")
        body = json.dumps({**LONG, "stream": stream}).encode()
        with closing(socket.create_connection((host, int(port)))) as connection:
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n"
                b"content-type: application/json\r\n"
                + f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            until(lambda: server.engine.running == 1)
        until(lambda: 'dynexit_texts_total{ended="cancelled"} 1.0' in exposition(server))


def test_a_full_queue_refuses_and_the_rest_is_served(serving, unhurried):
    with serving(unhurried, running=1, queue=1) as server:
        client = server.client()
        first = client.completions.create(**LONG, stream=True)
        next(iter(first))
        second = client.with_options(timeout=60).completions.create(
            **{**LONG, "max_tokens": 2}, stream=True
        )
        until(lambda: server.engine.waiting == 1)
        with pytest.raises(openai.RateLimitError, match="waiting already") as refused:
            client.completions.create(**LONG)
        assert refused.value.code == "queue_full"
        assert refused.value.response.headers["retry-after"] == "1"
        first.close()
        assert [chunk.choices[0].finish_reason for chunk in second][-1] == "length"


def test_a_request_that_is_larger_than_the_queue_is_refused_whole(serving):
    with (
        serving(running=2, queue=1) as server,
        pytest.raises(openai.RateLimitError),
    ):
        server.client().completions.create(**LONG, n=4)
    assert idle(server)


def test_deadlines_end_what_runs_and_what_waits(serving, unhurried):
    with serving(unhurried, running=1) as server:
        client = server.client()
        hurry = {"extra_body": {"dynexit": {"deadline_seconds": 0.3}}}
        with pytest.raises(openai.InternalServerError, match=r"0\.3 seconds") as late:
            client.completions.create(**LONG, **hurry)
        assert late.value.status_code == 504
        assert late.value.code == "deadline_exceeded"
        until(lambda: idle(server))
        blocking = client.completions.create(**LONG, stream=True)
        next(iter(blocking))
        with pytest.raises(openai.InternalServerError, match=r"0\.3 seconds"):
            client.completions.create(**LONG, **hurry)  # waits, and never runs
        blocking.close()
        stream = client.completions.create(**LONG, stream=True, **hurry)
        with pytest.raises(openai.APIError, match=r"0\.3 seconds"):
            list(stream)  # after the first tokens: the status is sent


def test_a_long_draft_is_cut_while_others_wait_for_it(lm, server):
    method = "layerskip:exit_layer=19,speculation_length=64"
    asked = {"model": "bundled", "prompt": PROMPTS[3], "max_tokens": 100, "temperature": 0}
    told = {"extra_body": {"dynexit": {"method": method}}}
    alone = server.client().completions.create(**asked, **told)
    both = server.client().completions.create(**asked, **told, n=2)
    assert alone.choices[0].text == both.choices[0].text == both.choices[1].text
    assert alone.dynexit["drafted"] > COURTEOUS * alone.dynexit["rounds"]
    assert both.dynexit["drafted"] <= COURTEOUS * both.dynexit["rounds"]


class Broken(dynexit.Controller):
    """Fails in its second round, as a fault of ours would."""

    def observe(self, finished):
        del finished
        raise RuntimeError("a secret detail")


def test_a_fault_of_ours_is_500_without_details(lm, server, caplog, monkeypatch):
    def make(asked, prompts, *rest):
        del asked, rest
        return [lm.sequence(prompts[0], Broken(), max_new_tokens=9)]

    monkeypatch.setattr(server.service, "_sequences", make)
    with pytest.raises(openai.InternalServerError, match="internal error") as failed:
        server.client().completions.create(model="bundled", prompt="Hello")
    assert "secret" not in str(failed.value)
    assert "a secret detail" in caplog.text
    monkeypatch.undo()
    answer = server.client().completions.create(
        model="bundled", prompt="Hello", max_tokens=2, temperature=0
    )
    assert answer.usage.completion_tokens == 2


def test_shutting_down_finishes_what_it_can_and_fails_the_rest(lm, monkeypatch):
    engine = create_app(lm, Settings(grace=1.0)).state.service.engine
    told, passed = {"short": [], "long": []}, [0.0]
    monkeypatch.setattr(serving_engine, "monotonic", lambda: passed[0])

    def steps(count):
        for _ in range(count):
            passed[0] += 0.01
            yield from lm.sequence("Hello", "vanilla", max_new_tokens=1).prefill()
        return count

    engine.start()
    engine.submit([Question(steps(3), told["short"].append, 60)])
    engine.submit([Question(steps(10_000), told["long"].append, 60)])
    engine.close()
    assert told["short"][0].result == 3
    assert told["long"][0].error.status == 503
    with pytest.raises(Exception, match="shutting down"):
        engine.submit([Question(steps(1), print, 60)])


def test_a_text_counts_as_running_between_its_rounds_and_no_longer(lm):
    metrics, counts = Metrics("bundled"), []
    engine = serving_engine.Engine(lm.model, Settings(running=1), metrics)
    sequence = lm.sequence(PROMPTS[0], "vanilla", max_new_tokens=8)
    engine.start()
    engine.submit([Text(sequence, lambda event: counts.append(engine.running), 60, metrics)])
    until(lambda: counts and not engine.running)
    engine.close()
    assert counts == [1] * 8 + [0]  # the prompt with the first token, seven rounds, the end


def test_metrics_count_what_happened(serving):
    with serving() as server:
        client = server.client()
        answer = client.completions.create(model="bundled", prompt=PROMPTS[0], max_tokens=20)
        counts, text = answer.dynexit, exposition(server)

        def value(name):
            lines = [line for line in text.splitlines() if line.startswith(name)]
            return sum(float(line.split()[-1]) for line in lines)

        assert value("dynexit_tokens_total") == answer.usage.completion_tokens
        assert value("dynexit_prompt_tokens_total") == answer.usage.prompt_tokens
        assert value("dynexit_rounds_total") == counts["rounds"]
        assert value("dynexit_drafted_tokens_total") == counts["drafted"]
        assert value("dynexit_accepted_tokens_total") == counts["accepted"]
        theirs, label = "vllm:spec_decode_num", '{model_name="bundled"}'
        assert value(f"{theirs}_draft_tokens_total{label}") == counts["drafted"]
        assert value(f"{theirs}_accepted_tokens_total{label}") == counts["accepted"] > 0
        assert value(f"{theirs}_accepted_tokens_per_pos_total") == counts["accepted"]
        assert 0 < value(f"{theirs}_drafts_total{label}") <= counts["rounds"]
        assert value("dynexit_time_to_first_token_seconds_count") == 1
        assert value("dynexit_inter_token_seconds_count") == answer.usage.completion_tokens - 1
        assert 'dynexit_requests_total{route="/v1/completions",status="200"} 1.0' in text
