"""Passes that are replayed, on a CPU where a recorder runs each piece again: the eager numbers.

What only a GPU can show is in `test_on_cuda.py`, and beside `tests/model/test_graphs_runtime.py`.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import FAMILIES, LLAMA, LOSSLESS, new_tokens, random_model, thrice

from dynexit.model.graphs.host import attend
from dynexit.model.graphs.pieces import HEAD_SIZES, Pieces, Stage, blocks, width_of
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.interface import Span
from dynexit.model.readings import numbers_of
from dynexit.model.transformer import Transformer

DEPTH = LLAMA.num_layers
SEGMENTS = ((0, DEPTH), (0, 1), (0, 3), (2, DEPTH), (DEPTH - 1, DEPTH), (2, 2))
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


@cache
def model_of(family):
    return random_model(FAMILIES[family], depth_gain=0.7)


@pytest.fixture
def graphs():
    return RecordedTransformer(model_of("llama"), thrice, attend)


def test_heads_of_many_sizes_are_not_all_recorded(graphs):
    hidden = torch.randn(1, LLAMA.hidden_size, dtype=graphs.dtype)
    for limit in range(1, 40):
        assert graphs.measure(hidden, limit).equal(graphs.eager.measure(hidden, limit))
    assert len(graphs.pieces) == HEAD_SIZES


@torch.inference_mode()
def prefilled(model, lengths=(9,)):
    """A cache for each length, filled by the eager pass."""
    eager, caches = getattr(model, "eager", model), [model.new_cache() for _ in lengths]
    for seed, (store, length) in enumerate(zip(caches, lengths, strict=True)):
        ids = [(7 * i + seed) % LLAMA.vocab_size for i in range(length)]
        rows = eager.rows([Span(store, 0, length)])
        eager.run_layers(eager.embed(ids), rows, 0, DEPTH)
    return caches


@torch.inference_mode()
def passed(model, caches, spans, segment, keep=None):
    """States that leave a segment and each of its layers, and the keys and values it wrote."""
    count = sum(length for _, length in spans)
    generator = torch.Generator().manual_seed(count)
    hidden = torch.randn(count, LLAMA.hidden_size, generator=generator, dtype=model.dtype)
    given, states = hidden.clone(), []
    rows = model.rows([Span(c, *span) for c, span in zip(caches, spans, strict=True)])
    left = model.run_layers(hidden, rows, *segment, states, keep)
    assert torch.equal(hidden, given)
    written = [
        store[layer][:, start : start + length].clone()
        for cache_, (start, length) in zip(caches, spans, strict=True)
        for store in (cache_._keys, cache_._values)
        for layer in range(*segment)
    ]
    return [left, *states, *written]


def assert_alike(ours, theirs, exactly=False):
    for one, other in zip(ours, theirs, strict=True):
        if exactly:
            assert torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_number_of_rows_through_every_segment(family, segment):
    eager = model_of(family)
    graphs = RecordedTransformer(eager, thrice, attend)
    for rows in (5, 1, 2, 3, 4, 16, 33, 65, 1):
        caches, spans = prefilled(eager), [(9, rows)]
        theirs = passed(eager, caches, spans, segment)
        ours = passed(graphs, prefilled(graphs), spans, segment)
        assert_alike(ours, theirs, exactly=width_of(rows) is None)


@pytest.mark.parametrize("keep", [1, 3])
def test_only_the_last_states_are_kept(graphs, keep):
    spans = [(9, 5)]
    theirs = passed(graphs.eager, prefilled(graphs), spans, (0, DEPTH), keep)
    ours = passed(graphs, prefilled(graphs), spans, (0, DEPTH), keep)
    assert len(ours[1]) == keep
    assert_alike(ours, theirs)


@pytest.mark.parametrize("segment", SEGMENTS)
def test_rows_of_several_sequences(graphs, segment):
    lengths = (3, 9, 20, 1)
    for counts in ((1, 1, 1, 1), (2, 1, 5, 3), (1, 4, 1, 1)):
        spans = list(zip(lengths, counts, strict=True))
        theirs = passed(graphs.eager, prefilled(graphs, lengths), spans, segment)
        ours = passed(graphs, prefilled(graphs, lengths), spans, segment)
        assert_alike(ours, theirs)


def test_the_next_width_that_has_room():
    assert [width_of(n) for n in (1, 2, 3, 4, 5, 9, 17, 64, 65)] == [
        1,
        2,
        4,
        4,
        8,
        16,
        32,
        64,
        None,
    ]


def test_exits_share_what_is_recorded(graphs):
    caches, recorded = prefilled(graphs), graphs.pieces
    passed(graphs, caches, [(9, 1)], (0, DEPTH))
    assert len(recorded) == len(list(blocks(0, DEPTH)))
    for exit_layer in range(1, DEPTH):
        passed(graphs, caches, [(9, 1)], (0, exit_layer))
        passed(graphs, caches, [(9, 1)], (exit_layer, DEPTH))
    before = len(recorded)
    assert before < 2 * DEPTH
    for segment in ((0, 2), (0, 4), (1, 3), (0, DEPTH), (3, DEPTH)):
        passed(graphs, caches, [(9, 1)], segment)
    assert len(recorded) == before


def test_blocks_make_up_any_range():
    assert list(blocks(6, 32)) == [(6, 8), (8, 16), (16, 32)]
    assert list(blocks(0, 28)) == [(0, 16), (16, 24), (24, 28)]
    every = [list(blocks(start, stop)) for stop in range(33) for start in range(stop + 1)]
    assert all(one[1] == other[0] for found in every for one, other in pairwise(found))
    assert len({block for found in every for block in found}) == 63


def test_rows_that_are_not_needed_reach_nothing(graphs):
    """What a wider pass left there is no number."""
    caches, spans = prefilled(graphs), [(9, 3)]
    theirs = passed(graphs.eager, caches, spans, (0, DEPTH))
    damaged = torch.full((4, LLAMA.hidden_size), torch.nan, dtype=graphs.dtype)
    graphs.run_layers(damaged, graphs.rows([Span(graphs.new_cache(), 0, 4)]), 0, DEPTH)
    assert_alike(passed(graphs, caches, spans, (0, DEPTH)), theirs)


def test_what_a_pass_has_returned_stays(graphs):
    first = passed(graphs, prefilled(graphs), [(9, 2)], (0, DEPTH))
    kept = [tensor.clone() for tensor in first]
    passed(graphs, prefilled(graphs), [(4, 2)], (0, DEPTH))
    assert_alike(first, kept, exactly=True)


class Split(Pieces):
    """As if layers from 3 on were on another device."""

    def stage(self, index, width):
        place = (torch.device("cpu", int(index >= 3)), width)
        if place not in self._stages:
            self._stages[place] = Stage(
                self._model.config, width, self._model.embedding.weight, self._attend
            )
        return self._stages[place]


class Divided(RecordedTransformer):
    """Layers of which are on two devices."""

    def _together(self, start, stop):
        ends = (start, min(max(start, 3), stop), stop)
        return ((first, last) for first, last in pairwise(ends) if first < last)


@pytest.mark.parametrize("segment", SEGMENTS)
def test_states_cross_a_border_between_devices(segment):
    graphs = Divided(model_of("llama"), thrice, attend)
    graphs.pieces = Split(graphs.eager, thrice, attend)
    spans = [(9, 3)]
    theirs = passed(graphs.eager, prefilled(graphs), spans, segment)
    assert_alike(passed(graphs, prefilled(graphs), spans, segment), theirs)


@pytest.mark.parametrize("limit", [None, 12])
def test_readings_are_those_of_the_logits(graphs, limit):
    for rows in (1, 3, 8, 70):
        hidden = torch.randn(rows, LLAMA.hidden_size, dtype=graphs.dtype)
        logits, found = graphs.unembed(hidden, limit), graphs.read(hidden, limit)
        assert found.tokens.tolist() == logits.argmax(-1).tolist()
        np.testing.assert_allclose(found.top, logits.amax(-1), rtol=1e-6)
        np.testing.assert_allclose(found.log_sum, logits.logsumexp(-1), rtol=1e-6)
        assert found.tokens.max() < (limit or LLAMA.vocab_size)


def test_padding_of_the_vocabulary_is_never_read():
    graphs = RecordedTransformer(random_model(), thrice, attend)
    hidden = torch.randn(6, LLAMA.hidden_size, dtype=graphs.dtype)
    graphs.read(hidden)
    graphs.vocabulary_size = 9
    assert graphs.eager.vocabulary_size == 9
    assert graphs.read(hidden).tokens.tolist() == graphs.unembed(hidden).argmax(-1).tolist()


def test_of_equal_logits_the_first_and_nan_where_one_is():
    logits = torch.tensor([[1.0, 7.0, 7.0], [0.0, torch.nan, 1.0]], dtype=torch.bfloat16)
    tokens, _, log_sum = numbers_of(logits)
    assert tokens.dtype == torch.float32
    assert tokens[0] == 1
    assert log_sum.isnan().tolist() == [False, True]


def test_threads_take_turns(graphs):
    asked = [(PROMPT[: 2 + i], method) for i in range(2) for method in ("del", "layerskip")]

    def text(one):
        return new_tokens(graphs, *one, max_new_tokens=12)

    with ThreadPoolExecutor(len(asked)) as threads:
        assert list(threads.map(text, asked)) == [text(one) for one in asked]


@pytest.mark.parametrize("method", LOSSLESS)
def test_greedy_texts_are_the_eager_ones(graphs, method):
    expected = new_tokens(graphs.eager, PROMPT, max_new_tokens=24)
    assert new_tokens(graphs, PROMPT, method, max_new_tokens=24) == expected


@pytest.mark.parametrize("method", ["vanilla", "layerskip", "del"])
def test_sampled_texts_are_the_eager_ones(graphs, method):
    rule = {"temperature": 0.9, "seed": 5, "max_new_tokens": 24}
    expected = new_tokens(graphs.eager, PROMPT, **rule)
    assert new_tokens(graphs, PROMPT, method, **rule) == expected


def test_an_eager_model_on_a_cpu_hands_over_logits():
    model = model_of("llama")
    assert isinstance(model, Transformer)
    assert isinstance(model.read(model.embed([1])), torch.Tensor)
