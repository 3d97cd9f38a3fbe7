"""The search through what a masked-diffusion model finds likely, and the 3-gram model, by hand."""

import math
from itertools import product

import pytest
import torch

from dynexit.decoding.lattice import best_paths, lattice_of, without_token
from dynexit.decoding.ngrams import Trigrams
from dynexit.decoding.successors import SuccessorTable


def logits_of(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_candidates_are_the_fewest_tokens_with_the_mass():
    logits = logits_of([0.5, 0.25, 0.2, 0.05], [0.9, 0.05, 0.04, 0.01], [0.28, 0.26, 0.24, 0.22])
    found = lattice_of(logits, None, mass=0.8, most=15, weight=0.5)
    assert [[token for token, _ in one] for one in found] == [[0, 1, 2], [0], [0, 1, 2, 3]]
    assert found[0][1][1] == pytest.approx(0.5 * math.log(0.25))
    few = lattice_of(logits, None, mass=0.8, most=2, weight=0.5)
    assert [len(one) for one in few] == [2, 1, 2]


def test_noise_decides_which_tokens_are_likely():
    noise = torch.tensor([[0.0, 9.0, 0.0, 0.0]], dtype=torch.float64)
    ((first, score), *_) = lattice_of(logits_of([0.5, 0.25, 0.2, 0.05]), noise, 0.8, 15, 0.5)[0]
    assert first == 1
    assert score == pytest.approx(0.5 * math.log(0.25) + 9.0)


def test_positions_without_numbers_end_the_lattice():
    logits = torch.zeros(4, 3)
    logits[2] = math.nan
    assert len(lattice_of(logits, None, 0.8, 15, 0.5)) == 2
    logits[0] = -math.inf
    assert lattice_of(logits, None, 0.8, 15, 0.5) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_best_of_all_paths(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    bigrams = torch.randn(3, 3, generator=generator).log_softmax(-1).tolist()
    lattice = lattice_of(logits, None, 1.0, 3, 0.5)

    def chances(last, tokens):
        return [bigrams[last[-1]][token] for token in tokens]

    def score(path):
        own = sum(dict(row)[token] for row, token in zip(lattice, path, strict=True))
        pairs = zip((2, *path), path, strict=False)
        return own + 0.5 * sum(bigrams[before][token] for before, token in pairs)

    ordered = sorted(product(range(3), repeat=4), key=score, reverse=True)
    found = best_paths(lattice, [1, 2], chances, 0.5, beam=27)
    assert found[0] == list(ordered[0])
    assert found[1] == list(ordered[1])


def test_a_path_ends_where_the_best_one_ends_the_text():
    lattice = [[(1, -0.1)], [(7, -0.1), (2, -0.2)], [(3, -0.1)]]
    assert best_paths(lattice, [0], lambda *_: [], 0.0, 3, frozenset({7})) == [[1, 7]]
    lattice[1] = [(2, -0.1), (7, -0.2)]
    assert best_paths(lattice, [0], lambda *_: [], 0.0, 3, frozenset({7})) == [[1, 2, 3]]
    assert best_paths([], [0], lambda *_: [], 0.0, 3) == []


def test_the_mask_is_never_a_candidate():
    logits = torch.zeros(2, 3)
    assert without_token(logits, 3) is logits
    assert without_token(logits, 1).tolist() == [[0.0, -math.inf, 0.0]] * 2
    assert all(1 not in dict(one) for one in lattice_of(without_token(logits, 1), None, 1, 9, 1))


def test_chances_are_counts_over_shorter_counts():
    trigrams = Trigrams(None, 10)
    trigrams.learn([4, 5, 6])
    trigrams.learn([4, 5, 6, 4, 5, 7, 4])
    below = (1 + 1) / (7 + 10)  # 6 and 7 came twice and once among seven tokens
    assert trigrams.log_chances((8, 9), [7])[0] == pytest.approx(math.log(below))
    after_one = (1 + below) / (2 + 1)  # 5 was followed by 6 and by 7
    after_two = (1 + after_one) / (2 + 1)
    assert trigrams.log_chances((4, 5), [7])[0] == pytest.approx(math.log(after_two))
    whole = sum(math.exp(one) for one in trigrams.log_chances((4, 5), range(10)))
    assert whole == pytest.approx(1.0)


def test_a_learned_table_is_below_the_counts():
    trigrams = Trigrams(SuccessorTable.of({(4, 5): [(6, 0.6)]}), 10)
    listed, other = (math.exp(one) for one in trigrams.log_chances((4, 5), [6, 1]))
    assert listed == pytest.approx(0.6, abs=0.01)
    assert other == pytest.approx(0.04, abs=0.001)
    trigrams.learn([4, 5, 1])
    listed, other = (math.exp(one) for one in trigrams.log_chances((4, 5), [6, 1]))
    assert other > listed
