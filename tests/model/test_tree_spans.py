"""A row of a tree is computed as if its path were the text, to the bit, and can come home."""

import random

import pytest
import torch
from tiny_checkpoints import prefilled, states_of

from dynexit.model.drafting_rule import depths, homes
from dynexit.model.interface import Span

FORMATS = [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, "int8")]
STARTS = (5, 508, 512)  # near and over the border of two of attention's blocks
SHAPES = {
    "a chain": [0, 1, 2, 3, 4],
    "leaves": [0, 1, 2, 1, 3, 0],
    "two chains": [0, 0, 1, 2, 3, 4, 5, 6],
    "level by level": [0, 0, 0, 1, 1, 2, 4, 4, 5, 6, 9],
    "a comb": [0, 0, 1, 1, 3, 3, 5, 5, 7, 7],
}


def path_to(parents, row):
    path = []
    while row:
        path.append(row)
        row = parents[row - 1]
    return path[::-1]


def by_levels(model, tokens, span):
    """The rows of a tree, level by level, as a draft runs them."""
    levels = depths(span.parents)
    states = []
    for level in range(max(levels) + 1):
        first = levels.index(level)
        part = span._replace(first=first, length=levels.count(level))
        states.append(states_of(model, tokens[first : first + part.length], part))
    return torch.cat(states)


def check(model, parents, start, draw, same=torch.equal, run=states_of):
    """Every row against its path as a text, then as it was with the text behind one of them."""
    cache, tokens = prefilled(model, start), [draw.randrange(60) for _ in range(len(parents) + 1)]
    slot = start + len(parents) + 1
    states = run(model, tokens, Span(cache, start, len(tokens), parents, slot))
    for row in range(len(tokens)):
        text = [tokens[0], *(tokens[each] for each in path_to(parents, row))]
        other = prefilled(model, start)
        expected = states_of(model, text, Span(other, start, len(text)))
        assert same(states[row], expected[-1]), (row, parents)
    path = path_to(parents, draw.randrange(len(tokens)))
    for position, row in enumerate(path, start + 1):
        if not homes(parents)[row]:
            cache.move(slot + row, position)
    text = [tokens[0], *(tokens[row] for row in path), 13, 4]
    after = states_of(model, [13, 4], Span(cache, start + 1 + len(path), 2))
    fresh = prefilled(model, start)
    assert same(after, states_of(model, text, Span(fresh, start, len(text)))[-2:])


@pytest.mark.thinned(3)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "weights"), FORMATS)
def test_a_row_is_what_its_path_would_be_as_a_text(native, dtype, weights, shape, start):
    check(native(dtype, weights), SHAPES[shape], start, random.Random(start))


@pytest.mark.parametrize("seed", range(6))
def test_any_tree(native, seed):
    draw = random.Random(seed)
    parents = [
        draw.randint(max(0, row - draw.choice((1, 3, 60))), row)
        for row in range(draw.randint(1, 40))
    ]
    check(native(torch.bfloat16), parents, draw.choice((1, 30, 490, 509)), draw)


def alike(one, other):
    return torch.allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("run", [states_of, by_levels])
@pytest.mark.parametrize("start", [*STARTS, 1011])  # the last slots are past the context
@pytest.mark.parametrize("shape", SHAPES)
def test_in_pytorch_a_row_is_what_its_path_would_be(eager, shape, start, run):
    if run is by_levels and depths(SHAPES[shape]) != sorted(depths(SHAPES[shape])):
        pytest.skip("this tree does not grow level by level")
    model = eager(max_position_embeddings=1024).double()
    with torch.inference_mode():
        check(model, SHAPES[shape], start, random.Random(start), alike, run)


@pytest.mark.parametrize("shape", ["a chain", "level by level"])
def test_levels_run_one_after_the_other(native, shape):
    check(native(), SHAPES[shape], 508, random.Random(0), run=by_levels)


def test_a_tree_runs_through_the_layers_in_parts(native):
    model, parents = native(), SHAPES["level by level"]
    cache, layers = prefilled(model, 40), model.config.num_layers
    tokens = list(range(2, len(parents) + 3))
    span = Span(cache, 40, len(tokens), parents, 40 + len(tokens))
    whole = states_of(model, tokens, span)
    first = states_of(model, tokens, span, (0, 1))
    assert torch.equal(states_of(model, first, span, (1, layers)), whole)


def test_who_is_at_home():
    parents = [0, 0, 1, 1, 3, 2]
    assert homes(parents) == [True, True, False, True, False, True, False]
    assert depths(parents) == [0, 1, 1, 2, 2, 3, 2]
    assert (homes([]), depths([])) == ([True], [0])
