"""Sampled tokens are distributed as the target says, whatever was drafted (chi-square)."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tiny import LLAMA, decode, layer_logits, random_model

from dynexit import Sampling
from dynexit.decoding.acceptance import accept
from dynexit.decoding.records import Draft, Verdict
from dynexit.decoding.sampling import Sampler

FEW, MANY = 3_000, 100_000  # draws
TEXTS, MANY_TEXTS = 600, 6_000
LIKELY_ENOUGH = 1e-4
TARGET = torch.tensor([1.2, 0.3, -0.5, 0.8, -2.0, 0.1], dtype=torch.float64)
PROPOSAL = torch.tensor([-0.5, 1.5, 0.2, 0.9, -3.0, -4.0], dtype=torch.float64)
FILTERS = {
    "temperature": {"temperature": 0.6},
    "top-k": {"temperature": 1.0, "top_k": 3},  # 0, 3, 1 of the target; 1, 3, 2 of the proposal
    "top-p": {"temperature": 1.0, "top_p": 0.7},
    "disjoint": {"temperature": 1.0, "top_k": 1},
}


def fits(counts, probabilities, least=5.0):
    """Whether counts are draws from these probabilities. Cells expected to be rare are pooled."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities)
    assert not counts[probabilities == 0].any(), "a token that can never be drawn"
    expected = probabilities / probabilities.sum() * counts.sum()
    order = np.argsort(expected)
    rare = int((np.cumsum(expected[order]) < least).sum()) + 1  # together they are one cell
    cells = [order[:rare], *([cell] for cell in order[rare:])]
    if len(cells) == 1:
        return True
    observed = [counts[cell].sum() for cell in cells]
    wanted = [expected[cell].sum() for cell in cells]
    return chisquare(observed, wanted).pvalue > LIKELY_ENOUGH


def distribution(logits, rule, tokens=()):
    """Probabilities after all filters."""
    return Sampler(rule, tokens).process(logits[None])[0].softmax(-1)


def speculative(**filters):
    return Sampling(**{"temperature": 1.0, "acceptance": "speculative", "seed": 7, **filters})


def verdicts(rule, proposal, draws):
    """(draft, verdict) of drafts of one token drawn from the proposal."""
    sampler, dice = Sampler(rule, []), torch.Generator().manual_seed(11)
    processed = sampler.process(proposal[None])
    drafts = torch.multinomial(processed[0].softmax(-1), draws, replacement=True, generator=dice)
    logits = TARGET.repeat(2, 1)
    for token in drafts.tolist():
        yield token, accept(Draft([token], logits=[processed]), logits, sampler)


def check_first_tokens(rule, draws):
    counts, accepted = [0] * len(TARGET), 0
    for token, verdict in verdicts(rule, PROPOSAL, draws):
        counts[token if verdict.accepted else verdict.token] += 1
        accepted += verdict.accepted
    p, q = distribution(TARGET, rule), distribution(PROPOSAL, rule)
    assert fits(counts, p.numpy())
    share = float(torch.minimum(p, q).sum())  # which no rule that keeps p can beat
    assert accepted / draws == pytest.approx(share, abs=2.5 / math.sqrt(draws))


def test_the_chi_square_can_fail():
    p = TARGET.softmax(-1).numpy()
    counts = np.random.default_rng(0).multinomial(MANY, p)
    assert fits(counts, p)
    counts[0] += MANY // 100
    assert not fits(counts, p)


@pytest.mark.parametrize("draws", [MANY // 10, pytest.param(MANY, marks=pytest.mark.slow)])
def test_the_first_token_is_the_targets(draws):
    check_first_tokens(speculative(), draws)


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
def test_the_first_token_is_the_filtered_targets(filters):
    check_first_tokens(speculative(**filters), FEW)


def test_every_position_has_its_own_target_and_its_own_proposal():
    rule, dice = speculative(), torch.Generator().manual_seed(1)
    proposals, targets = [TARGET[None], PROPOSAL[None]], torch.stack([TARGET, TARGET.flip(0)] * 2)
    q = torch.cat(proposals).softmax(-1)
    sampler, counts = Sampler(rule, []), np.zeros((2, len(TARGET)))
    for drafts in torch.multinomial(q, 2 * FEW, replacement=True, generator=dice).T.tolist():
        verdict = accept(Draft(drafts, logits=proposals), targets[:3], sampler)
        emitted = [*drafts[: verdict.accepted], verdict.token]
        assert len(emitted) > 1  # the first proposal is the target
        counts[0, emitted[0]] += 1
        counts[1, emitted[1]] += 1
    for got, target in zip(counts, targets, strict=False):
        assert fits(got, distribution(target, rule).numpy())


def test_where_the_draft_is_the_target_all_is_accepted_and_the_bonus_is_the_targets():
    rule, counts = speculative(), [0] * len(TARGET)
    for _, verdict in verdicts(rule, TARGET, FEW):
        assert verdict.accepted == 1
        counts[verdict.token] += 1
    assert fits(counts, distribution(TARGET, rule).numpy())


def test_a_plain_step_draws_from_the_target():
    rule, counts = speculative(top_k=4), [0] * len(TARGET)
    sampler = Sampler(rule, [])
    for _ in range(FEW):
        counts[accept(Draft(), TARGET[None], sampler).token] += 1
    assert fits(counts, distribution(TARGET, rule).numpy())


@pytest.mark.parametrize("position", [0, 1000])
def test_shared_noise_is_the_targets_distribution_over_seeds(position):
    rule = Sampling(temperature=0.8, top_k=5)
    counts = [0] * len(TARGET)
    for seed in range(FEW):
        sampler = Sampler(replace(rule, seed=seed), range(position))
        counts[sampler.choose(TARGET[None]).tokens[0]] += 1
    assert fits(counts, distribution(TARGET, rule).numpy())


def test_shared_noise_is_the_targets_distribution_over_positions_and_its_neighbours():
    rule = Sampling(temperature=1.0, seed=3)
    rows = 5_000
    tokens = Sampler(rule, []).choose(TARGET.repeat(rows, 1)).tokens
    p = distribution(TARGET, rule).numpy()
    assert fits(np.bincount(tokens, minlength=len(p)), p)
    pairs = Counter(itertools.pairwise(tokens))
    cells = list(itertools.product(range(len(p)), repeat=2))
    assert fits([pairs[cell] for cell in cells], np.outer(p, p).ravel())


@pytest.mark.parametrize(
    ("drafted", "chosen", "verdict"),
    [
        ([], [4], Verdict([], 4, 0, True)),
        ([1, 2, 3], [1, 2, 3, 4], Verdict([1, 2, 3], 4, 3, True)),
        ([1, 2, 3], [0, 2, 3, 4], Verdict([], 0, 3)),
        ([1, 2, 3], [1, 2, 0, 4], Verdict([1, 2], 0, 3)),
        ([1, 1, 1], [1, 0, 1, 1], Verdict([1], 0, 3)),
    ],
)
def test_greedy_keeps_the_longest_prefix_that_the_target_would_write(drafted, chosen, verdict):
    logits = torch.eye(5)[chosen]
    got = accept(Draft(drafted), logits, Sampler(Sampling(), [0]))
    assert got == verdict
    whole = "bonus" if drafted else "target"
    assert got.source == (whole if verdict.accepted == len(drafted) else "recovered")


# Whole texts


@cache
def small_model():
    shape = replace(LLAMA, vocab_size=5, hidden_size=8, intermediate_size=8, num_layers=3)
    model = random_model(replace(shape, num_heads=2, num_kv_heads=1, head_dim=4), seed=2)
    model.head.weight.mul_(0.5)
    return model


@cache
def joint(rule):
    """Exact probability of every text of four tokens after the prompt 0, [5, 5, 5, 5]."""
    table = np.ones((5, 5, 5, 5))
    for length in range(4):
        for text in itertools.product(range(5), repeat=length):
            logits = layer_logits(small_model(), [0, *text])[-1, -1]
            p = distribution(logits, rule, [0, *text]).numpy()
            table[text] *= p.reshape(-1, *[1] * (3 - length))
    assert table.sum() == pytest.approx(1)
    return table


def check_texts(method, rule, texts, **settings):
    counts, accepted, drafted = np.zeros((5, 5, 5, 5)), 0, 0
    for seed in range(texts):
        options = {"max_new_tokens": 4, "sampling": replace(rule, seed=seed), **settings}
        sequence, _ = decode(small_model(), [0], method, **options)
        counts[tuple(sequence.new_tokens)] += 1
        accepted += sequence.stats.accepted
        drafted += sequence.stats.drafted
    expected = joint(rule)
    assert fits(counts.sum(0).ravel(), expected.sum(0).ravel())  # tokens 2 to 4, all of rounds
    for position in range(4):
        others = tuple(i for i in range(4) if i != position)
        assert fits(counts.sum(others), expected.sum(others)), position
    return accepted / max(drafted, 1)


@pytest.mark.parametrize("texts", [TEXTS, pytest.param(MANY_TEXTS, marks=pytest.mark.slow)])
def test_whole_texts_of_speculative_acceptance(texts):
    rule = Sampling(temperature=1.0, acceptance="speculative")
    settings = {"exit_layer": 1, "speculation_length": 3}
    assert 0.3 < check_texts("layerskip", rule, texts, **settings) < 0.9


def test_whole_texts_of_speculative_acceptance_behind_filters_and_a_threshold():
    rule = Sampling(temperature=0.9, top_k=3, repetition_penalty=1.2, acceptance="speculative")
    check_texts("draft-verify", rule, TEXTS // 3, exit_layer=1, gamma=0.5)


@pytest.mark.parametrize("method", ["jacobi", "lookahead:window=3,ngram=2"])
def test_whole_texts_of_guesses_that_earlier_rounds_have_left(method):
    rule = Sampling(temperature=1.0, acceptance="speculative")
    assert check_texts(method, rule, TEXTS // 3) > 0.1


def test_whole_texts_of_shared_noise():
    check_texts("vanilla", Sampling(temperature=1.0), TEXTS // 3)


@pytest.mark.parametrize("temperature", [1e-30, 1e-39, 1e-45])
def test_a_temperature_next_to_zero_is_greedy(temperature):
    sampler = Sampler(Sampling(temperature=temperature, seed=0), [0])
    assert sampler.choose(torch.tensor([[1.0, 5.0, 3.0]])).tokens == [1]
