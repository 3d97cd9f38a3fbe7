"""Texts that are written together are those of plain decoding; draws have the right shares."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import dynexit
from dynexit.learning.writing import KEPT, LOOP, Order, Writer, draw, likeliest, loops
from dynexit.model.interface import Span
from dynexit.model.native.binding import runtimes

LONGEST = 40
PROMPTS = ("Question: Why?\nAnswer:", "German: Guten Tag.\nEnglish:", "The old", "def f(x):\n")


@pytest.fixture(scope="module", params=["native", "eager"])
def lm(request):
    if request.param == "native" and not runtimes():
        pytest.skip("needs the native library")
    return dynexit.load(device="cpu", dtype="fp32", runtime=request.param, check=False)


def written(lm, orders, batch_size=3):
    queue, told = list(orders), []
    texts = Writer(lm.model, lm.eos, batch_size, LONGEST).write(
        lambda: queue.pop(0) if queue else None, told.append
    )
    found = {text.order.about: text for text in texts}
    assert sum(told) == sum(len(t.tokens) - len(t.order.prompt) for t in found.values())
    return found


def test_greedy_texts_are_those_of_plain_decoding(lm):
    prompts = {prompt: lm.tokenizer.encode(prompt) for prompt in PROMPTS}
    found = written(lm, [Order(ids, 0.0, 0, prompt) for prompt, ids in prompts.items()])
    for prompt, ids in prompts.items():
        plain = lm.generate(prompt, "vanilla", max_new_tokens=LONGEST).token_ids
        new = found[prompt].tokens[len(ids) :]
        assert new[: len(plain)] == plain or loops(new)
        assert new[len(plain) :] == [] or new[len(plain)] in lm.eos


@torch.inference_mode()
def test_what_is_likely_is_what_the_model_says_of_each_position(lm):
    ids = lm.tokenizer.encode(PROMPTS[0])
    text = written(lm, [Order(ids, temperature, 5, temperature) for temperature in (0.0, 1.0)])
    for temperature, one in text.items():
        assert one.first == (len(ids) - 1 if temperature else 0)
        span = Span(lm.model.new_cache(), 0, len(one.tokens) - 1)
        hidden = lm.model.embed(one.tokens[:-1])
        hidden = lm.model.run_layers(hidden, lm.model.rows([span]), 0, lm.num_layers)
        expected = lm.model.unembed(hidden).float().softmax(-1)[one.first :].topk(KEPT).values
        assert one.likely.shape == one.chances.shape == expected.shape
        np.testing.assert_allclose(one.chances, expected, atol=2e-3)
        assert len(one.likely) == len(one.tokens) - 1 - one.first


def test_drawn_texts_depend_on_their_seed_alone(lm):
    ids = lm.tokenizer.encode(PROMPTS[2])
    orders = [Order(ids, 1.0, seed, number) for number, seed in enumerate((1, 2, 1))]
    together = written(lm, orders)
    assert together[0].tokens == together[2].tokens != together[1].tokens


def test_a_text_that_comes_again_ends():
    period = list(range(LOOP + 3))
    assert loops(period + period)
    assert not loops(period + period[: LOOP - 1])
    assert loops([7] * (LOOP + 1))
    assert not loops([7] * LOOP)
    assert not loops([])


@pytest.mark.parametrize("vocabulary", [9, 128, 1000])
def test_the_likeliest_are_found_in_any_vocabulary(vocabulary):
    logits = torch.randn(5, vocabulary, generator=torch.Generator().manual_seed(0)) * 3
    tokens, chances = likeliest(logits)
    expected = logits.softmax(-1).topk(KEPT)
    assert tokens.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(chances, expected.values, rtol=1e-5)


def test_a_vocabulary_of_fewer_tokens_has_no_more():
    tokens, chances = likeliest(torch.tensor([[0.0, 1.0, 2.0]]))
    assert tokens[0, :3].tolist() == [2, 1, 0]
    assert chances[0, 3:].tolist() == [0.0] * (KEPT - 3)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_draws_have_the_shares_that_the_temperature_gives(temperature):
    logits = torch.full((1, 300), -torch.inf)
    logits[0, [3, 128, 299]] = torch.tensor([0.0, 1.0, 2.0])
    luck = [(place + 0.5) / 1000 for place in range(1000)]
    drawn = draw(logits.expand(1000, -1), [temperature] * 1000, luck)
    shares = (logits[0] / temperature).softmax(-1)
    for token in (3, 128, 299):
        assert drawn.count(token) == pytest.approx(1000 * float(shares[token]), abs=2)
    assert all(before <= after for before, after in pairwise(drawn))


def test_the_luckiest_draw_is_a_token_that_can_be_drawn():
    logits = torch.full((1, 700), -torch.inf)
    logits[0, :200] = torch.linspace(0, 3, 200)
    assert draw(logits, [1.0], [1.0])[0] < 200
    assert draw(logits, [1.0], [0.0]) == [0]
