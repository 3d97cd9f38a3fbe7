"""Drafts that branch: the text stays plain decoding's, and counts say what happened."""

import random
from dataclasses import replace

import pytest
import torch
from numbers_in import started
from tiny import FAMILIES, Fixed, decode, random_model

from dynexit import Sampling
from dynexit.decoding.acceptance import accept
from dynexit.decoding.controllers.auto import Auto
from dynexit.decoding.controllers.estimates import OTHERS, OtherEstimates
from dynexit.decoding.controllers.tuning import TUNING
from dynexit.decoding.costs import Costs
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft, Round
from dynexit.decoding.sampling import Sampler
from dynexit.model.drafting_rule import Pricing
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.readings import Readings

FREE_ROWS = Costs((1, 2), (1.0, 1.0), (0.5, 0.5), (0.1, 0.1), 1.0, (0.0, 0.0), 0.1, 29)
DEAR_ROWS = Costs((1, 2), (1.0, 2.0), (0.5, 1.0), (0.1, 0.2), 1.0, (0.0, 0.0), 0.1, 29)


class Bushy(Fixed):
    """Drafts every token's best children, to so many tokens."""

    def __init__(self, exit_layer, nodes, ranks=3, drafter="early-exit"):
        odds = tuple((1.0 - 0.3 * rank,) * 10 for rank in range(ranks))
        self.planned = Plan(exit_layer, 5, None, drafter, Pricing(odds, (0.0,) * nodes, ()))
        self.drafters = (drafter,)


def native(family, dtype=torch.bfloat16):
    model = random_model(FAMILIES[family], depth_gain=0.6, dtype=torch.float32).to(dtype)
    return NativeTransformer.packing(model, threads=2)


@pytest.mark.parametrize("drafter", ["early-exit", "early-exit-int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_is_plain_decodings(family, drafter):
    model, draw = native(family), random.Random(7)
    model.copy_for_drafts(3, 29)
    off_the_chain = 0
    for _ in range(12):
        prompt = [draw.randrange(29) for _ in range(draw.randint(1, 40))]
        length = draw.randint(1, 50)
        eos = frozenset(draw.sample(range(29), draw.choice((0, 2))))
        plain, _ = decode(model, prompt, "vanilla", length, eos)
        tree = Bushy(draw.randint(1, 3), draw.randint(1, 12), draw.randint(1, 3), drafter)
        sequence, chunks = decode(model, prompt, tree, length, eos)
        assert sequence.new_tokens == plain.new_tokens
        assert sequence.finish_reason == plain.finish_reason
        check(sequence, chunks)
        off_the_chain += sum(
            list(r.path) != list(range(1, r.accepted + 1)) for r in sequence.stats.rounds
        )
    assert off_the_chain > 10


SAMPLED = {
    "greedy": Sampling(),
    "penalised": Sampling(repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2),
    "sampled": Sampling(0.8, seed=3),
    "sampled and penalised": Sampling(1.1, top_k=9, repetition_penalty=1.2, seed=5),
}


@pytest.mark.parametrize("sampling", SAMPLED)
@pytest.mark.parametrize("runtime", ["eager", "native"])
def test_branches_choose_as_the_text_does(runtime, sampling):
    """Level by level, where a draft is no single call."""
    eager = random_model(FAMILIES["llama"], depth_gain=0.6)
    model = native("llama") if runtime == "native" else eager
    draw, off_the_chain = random.Random(5), 0
    for _ in range(8):
        prompt = [draw.randrange(29) for _ in range(draw.randint(1, 20))]
        eos = frozenset(draw.sample(range(29), draw.choice((0, 2))))
        options = {"eos": eos, "sampling": SAMPLED[sampling], "logprobs": 2}
        plain, expected = decode(model, prompt, "vanilla", 40, **options)
        tree = Bushy(draw.randint(1, 3), draw.randint(2, 12))
        sequence, chunks = decode(model, prompt, tree, 40, **options)
        assert sequence.new_tokens == plain.new_tokens
        for one, other in zip(chunks, expected, strict=True):
            assert one.logprobs.logprob == pytest.approx(other.logprobs.logprob, abs=1e-5)
        check(sequence, chunks)
        off_the_chain += sum(
            list(r.path) != list(range(1, r.accepted + 1)) for r in sequence.stats.rounds
        )
    assert off_the_chain > 3


def check(sequence, chunks):
    stats = sequence.stats
    assert sequence.cache.length == len(sequence.tokens) - 1
    for finished in stats.rounds[:-1]:
        assert finished.tokens == finished.accepted + 1
        assert finished.accepted <= finished.depth <= finished.drafted
        judged = list(finished.judged())
        assert sum(accepted for _, _, accepted in judged) == finished.accepted
    assert sum(chunk.source == "accepted" for chunk in chunks) <= stats.accepted


@pytest.mark.parametrize(
    "options",
    [{"sampling": Sampling(0.9, acceptance="speculative", seed=1)}, {"watched": True}],
)
def test_where_branches_cannot_be_the_draft_is_a_chain(options):
    class Watching(Bushy):
        reads_shadow = options.pop("watched", False)

    sequence, _ = decode(native("llama"), [3, 1, 4], Watching(2, 4), 20, **options)
    assert any(r.drafted for r in sequence.stats.rounds)
    assert all(r.depth == r.drafted for r in sequence.stats.rounds)


@pytest.mark.parametrize(
    ("parents", "tokens", "chosen", "path", "token", "source"),
    [
        ([0, 1, 2], [5, 6, 7], [5, 6, 7, 8], [1, 2, 3], 8, "bonus"),
        ([0, 1, 2], [5, 6, 7], [5, 4, 7, 8], [1], 4, "recovered"),
        ([0, 0, 1, 2], [5, 6, 7, 8], [6, 1, 8, 2, 3], [2, 4], 3, "bonus"),
        ([0, 0, 1, 2], [5, 6, 7, 8], [6, 1, 9, 2, 3], [2], 9, "recovered"),
        ([0, 0, 1, 2], [5, 6, 7, 8], [4, 1, 9, 2, 3], [], 4, "recovered"),
        ([0, 0, 2], [5, 6, 7], [5, 1, 9, 2], [1], 1, "bonus"),
        ([], [], [9], [], 9, "target"),
    ],
)
def test_acceptance_walks_down_the_tree(parents, tokens, chosen, path, token, source):
    sure = torch.zeros(len(chosen)).numpy()
    readings = Readings(torch.tensor(chosen).numpy(), sure, sure)
    sampler = Sampler(Sampling(), [1])
    verdict = accept(Draft(tokens, parents=parents), readings, sampler)
    assert (list(verdict.path), verdict.token, verdict.source) == (path, token, source)


def test_judged_are_the_children_of_what_stayed():
    draft = Draft([5, 6, 7, 8, 9], [0.9, 0.9, 0.8, 0.7, 0.7], [0, 0, 1, 2, 2], [0, 1, 0, 0, 1])
    finished = Round(Plan(1, 3), 5, 2, 3, draft=draft, path=(2, 5))
    assert list(finished.judged()) == [
        *((0, 0.9, False), (1, 0.9, True)),
        *((0, 0.7, False), (1, 0.7, True)),
    ]
    assert finished.depth == 2


def test_other_choices_are_learned_by_rank_and_confidence():
    learned = OtherEstimates()
    assert [*map(list, learned.odds(1.0))] == [pytest.approx(list(rank)) for rank in OTHERS]
    for _ in range(100):
        learned.observe(1, 0.05, True)
        learned.observe(2, 0.95, False)
    second, third = learned.odds(1.0)
    assert second[0] > 0.9
    assert list(second[1:]) == pytest.approx(list(OTHERS[0][1:]))
    assert third[9] < 0.01
    assert learned.odds(0.5)[0][3] == pytest.approx(OTHERS[0][3] / 2)


@pytest.mark.parametrize(
    ("costs", "branches"),
    [(FREE_ROWS, True), (DEAR_ROWS, False), (replace(FREE_ROWS, draft_row=1.0), False)],
)
def test_auto_branches_where_rows_are_cheap(costs, branches):
    auto = started(Auto(lookup=False), costs=costs)
    auto._rounds = TUNING.shallow
    pricing = auto._with_layer(2).plan.pricing
    assert (len(pricing.odds) > 1) == branches
    auto.share(2)
    assert len(auto._with_layer(2).plan.pricing.odds) == 1
