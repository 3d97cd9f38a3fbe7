"""Prompts that were read before, as clients see it: counts, answers, bounds, metrics."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from chat_models import chat_model

from dynexit import DynexitError
from dynexit.model.interface import BLOCK
from dynexit.serve.settings import Settings

SYSTEM = "You answer in the words of an old book. " * 30
LONG = "The old house stood at the end of the lane, and nobody had lived there for years. " * 12


@pytest.fixture(scope="module")
def chat_lm(tmp_path_factory):
    return chat_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def fresh(serving):
    """A server that has read nothing yet."""
    with serving() as running:
        yield running


def complete(client, prompt=LONG, **asked):
    asked = {"model": "bundled", "max_tokens": 12, "temperature": 0, **asked}
    return client.completions.create(prompt=prompt, **asked)


def cached(answer):
    return answer.usage.prompt_tokens_details.cached_tokens


def figures(server):
    """Numbers of the prefix cache, by name."""
    told = server.service.metrics.exposition.decode()
    found = re.findall(r"^dynexit_prefix_cache_(\w+) (\S+)$", told, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_a_prompt_is_read_once_and_the_answer_stays(lm, fresh):
    client, expected = fresh.client(), lm.generate(LONG, "vanilla", max_new_tokens=12)
    answers = [complete(client) for _ in range(2)]
    assert [answer.choices[0].text for answer in answers] == [expected.text] * 2
    count = answers[0].usage.prompt_tokens
    whole = (count - 1) // BLOCK * BLOCK
    assert [cached(answer) for answer in answers] == [0, whole]
    told = figures(fresh)
    assert (told["queries_total"], told["hits_total"]) == (2, 1)
    assert told["found_tokens_total"] == whole
    block = lm.model.new_cache().block_bytes
    assert count // BLOCK * block < told["bytes"] < (count // BLOCK + 2) * block
    assert told["limit_bytes"] == 10**9


def test_a_stream_and_several_choices_are_told_as_well(fresh):
    client = fresh.client()
    complete(client)
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    last = list(complete(client, **asked))[-1]
    assert cached(last) > 0
    answer = complete(client, [LONG, LONG[:40]], n=2)
    assert cached(answer) == cached(last)  # of each prompt once, and the short one is new


def test_clients_with_another_salt_share_nothing(fresh):
    client = fresh.client()
    for salt, known in (("one", False), ("other", False), ("one", True)):
        assert (cached(complete(client, extra_body={"cache_salt": salt})) > 0) == known
    assert cached(complete(client)) == 0
    with pytest.raises(openai.BadRequestError, match="cache_salt"):
        complete(client, extra_body={"cache_salt": ""})


def test_an_echo_with_log_probabilities_reads_all_of_the_prompt(fresh):
    client, asked = fresh.client(), {"echo": True, "logprobs": 1, "max_tokens": 4}
    first, second = (complete(client, **asked) for _ in range(2))
    assert cached(second) == 0
    assert first.choices[0].logprobs == second.choices[0].logprobs
    assert cached(complete(client, echo=True)) > 0


def test_a_conversation_of_ten_turns_reads_only_what_is_new(chat_lm, serving):
    with serving(chat_lm) as server:
        client, known = server.client(), 0
        messages = [{"role": "system", "content": SYSTEM}]
        for turn in range(10):
            messages.append({"role": "user", "content": f"And what happened in year {turn}?"})
            answer = client.chat.completions.create(
                model=server.service.name, messages=messages, max_tokens=24, temperature=0
            )
            prompt = chat_lm.tokenizer.encode_chat(messages)
            assert answer.usage.prompt_tokens == len(prompt)
            if turn:
                assert cached(answer) > known - 2 * BLOCK  # what the last turn had read
            expected = chat_lm.generate(prompt, "vanilla", max_new_tokens=24)
            text = answer.choices[0].message.content
            assert text == expected.text
            known = len(prompt)
            messages.append({"role": "assistant", "content": text})
        assert len(prompt) - cached(answer) < 100 < len(prompt) / 4


def test_a_crowd_that_shares_a_system_prompt_reads_it_once(chat_lm, serving):
    with serving(chat_lm) as server:
        base = {"base_url": f"{server.url}/v1", "api_key": "none", "max_retries": 0}

        async def ask(client, number):
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"What is {number} and {number}?"},
            ]
            answer = await client.chat.completions.create(
                model=server.service.name, messages=messages, max_tokens=8, temperature=0
            )
            prompt = chat_lm.tokenizer.encode_chat(messages)
            expected = chat_lm.generate(prompt, "vanilla", max_new_tokens=8)
            return cached(answer), answer.choices[0].message.content == expected.text

        async def all_of():
            async with openai.AsyncOpenAI(**base) as client:
                return await asyncio.gather(*(ask(client, number) for number in range(12)))

        answers = asyncio.run(all_of())
    assert all(same for _, same in answers)
    shared = len(chat_lm.tokenizer.encode_chat([{"role": "system", "content": SYSTEM}]))
    assert sorted(count >= shared - 2 * BLOCK for count, _ in answers) == [False] + [True] * 11


def test_memory_is_bounded_whatever_comes(lm, serving):
    block = lm.model.new_cache().block_bytes
    limit = 9 * (block + 200)
    with serving(cache_memory=limit) as server, ThreadPoolExecutor(4) as pool:
        client = server.client()

        def ask(number):
            prompt = f"Number {number % 7}. " * (20 + 9 * (number % 3))
            answer = complete(client, prompt, max_tokens=40)
            assert figures(server)["bytes"] <= limit
            return answer.choices[0].text, prompt

        answers = list(pool.map(ask, range(24)))
        assert figures(server)["evicted_blocks_total"] > 0
    for text, prompt in answers:
        assert text == lm.generate(prompt, "vanilla", max_new_tokens=40).text


def test_it_can_be_left_out(serving):
    with serving(cache_memory=0) as server:
        answers = [complete(server.client()) for _ in range(2)]
        assert [cached(answer) for answer in answers] == [0, 0]
        assert not figures(server)


@pytest.mark.parametrize("memory", ["much", "-1", -5])
def test_a_memory_that_is_none_is_refused_before_anything_starts(memory):
    with pytest.raises(DynexitError, match="give bytes, such as"):
        Settings(cache_memory=memory)
