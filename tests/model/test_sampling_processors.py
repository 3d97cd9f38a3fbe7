"""From logits to tokens: transformers' processors in transformers' order, noise by position."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_checkpoints import random_model

from dynexit.decoding.sampling import NO_TOKEN, Sampler
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.errors import DynexitError

VOCABULARY = 23
TOKENS = st.integers(0, VOCABULARY - 1)
FINE = st.integers(-30_000, 30_000).map(lambda n: n / 1024)  # subtracted without rounding
COARSE = st.integers(-3, 3).map(float)  # many ties
LOGITS = st.sampled_from([FINE, COARSE]).flatmap(
    lambda values: st.lists(values, min_size=VOCABULARY, max_size=VOCABULARY)
)

SETTINGS = st.fixed_dictionaries(
    {
        "temperature": st.one_of(st.just(0.0), st.just(1.0), st.floats(0.05, 5)),
        "top_k": st.integers(0, VOCABULARY + 5),
        "top_p": st.one_of(st.just(1.0), st.floats(0.01, 1)),
        "min_p": st.one_of(st.just(0.0), st.floats(0, 1)),
        "repetition_penalty": st.one_of(st.just(1.0), st.floats(0.2, 5)),
    }
)
# A position holds the committed tokens and some of the drafts; row 0 may stand anywhere among them.
CONTEXTS = st.tuples(
    st.lists(TOKENS, min_size=1, max_size=6), st.lists(TOKENS, max_size=5), st.integers(0, 5)
)


@pytest.fixture(scope="module")
def their_processors():
    """What transformers' generate would put logits through, in the order that it would."""
    model = random_model()

    def processors(temperature, **filters):
        sampled = {"do_sample": True, "temperature": temperature, **filters}
        penalty = filters["repetition_penalty"]
        asked = sampled if temperature else {"do_sample": False, "repetition_penalty": penalty}
        config, _ = model._prepare_generation_config(None, **asked)
        return model._get_logits_processor(config, input_ids_seq_length=1, device="cpu")

    return processors


def test_the_reference_is_all_five_processors(their_processors):
    asked = {"top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2}
    names = [type(p).__name__ for p in their_processors(0.7, **asked)]
    assert names == [
        "RepetitionPenaltyLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "MinPLogitsWarper",
    ]
    assert len(their_processors(0.0, **asked)) == 1


def assert_same_distribution(actual, reference):
    """Logits mean the same where they differ by a constant."""
    probabilities, expected = actual.double().softmax(-1), reference.double().softmax(-1)
    assert (probabilities - expected).abs().max() < 1e-3  # fp32, at logits of up to 3000


@settings(max_examples=250, deadline=None)
@given(data=st.data(), asked=SETTINGS, context=CONTEXTS)
def test_process_equals_transformers(their_processors, data, asked, context):
    tokens, drafts, first = context
    assume(first <= len(drafts))
    rows = len(drafts) + 1 - first
    logits = torch.tensor(data.draw(st.lists(LOGITS, min_size=rows, max_size=rows)))
    before = logits.clone()
    ours = Sampler(Sampling(**asked), tokens).process(logits, drafts, first)
    assert torch.equal(logits, before), "the logits handed in must not be written to"
    theirs = their_processors(**asked)
    unfiltered = {**asked, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    scaled = Sampler(Sampling(**unfiltered), tokens).process(logits, drafts, first)
    for row in range(rows):
        seen = torch.tensor([tokens + drafts[: first + row]])
        reference = theirs(seen, logits[row][None])[0]
        kept, their_kept = ours[row].isfinite(), reference.isfinite()
        # Of equal logits, transformers' top-p keeps any (its sort is unstable), but as many.
        unequal = (scaled[row][:, None] == scaled[row]).sum(0) == 1
        assert kept.sum() == their_kept.sum()
        assert torch.equal(kept[unequal], their_kept[unequal])
        assert_same_distribution(ours[row].sort().values, reference.sort().values)
        assert torch.equal(ours[row], reference) or asked["temperature"]


@settings(max_examples=60, deadline=None)
@given(
    layers=st.lists(st.lists(LOGITS, min_size=3, max_size=3), min_size=1, max_size=3),
    asked=SETTINGS,
)
def test_layers_are_processed_like_single_ones(layers, asked):
    sampler, logits = Sampler(Sampling(**asked), [1, 2, 3]), torch.tensor(layers)
    together = sampler.process(logits, [4, 5])
    for layer, alone in zip(logits, together, strict=True):
        assert torch.equal(sampler.process(layer, [4, 5]), alone)


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_what_lies_on_the_border_of_top_p_goes_as_in_transformers(their_processors, kept):
    asked = {"top_p": kept / 4, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    logits = torch.zeros(1, 4)  # each a quarter, exactly
    ours = Sampler(Sampling(1.0, **asked), [0]).process(logits)
    reference = their_processors(1.0, **asked)(torch.tensor([[0]]), logits)
    assert ours.isfinite().sum() == reference.isfinite().sum() == kept


def test_rows_of_the_prompt_see_the_whole_prompt(their_processors):
    asked = {"temperature": 0.0, "repetition_penalty": 1.5}
    logits = torch.linspace(-2, 2, VOCABULARY).repeat(2, 1)
    ours = Sampler(Sampling(**asked), [3, 20, 7]).process(logits, (), -2)
    reference = their_processors(**asked)(torch.tensor([[3, 20, 7]] * 2), logits)
    assert torch.equal(ours, reference)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_logits_are_processed_in_fp32(their_processors, dtype):
    asked = {"top_k": 9, "top_p": 0.8, "min_p": 0.02, "repetition_penalty": 1.3}
    logits = (3 * torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(5))).to(dtype)
    ours = Sampler(Sampling(0.7, **asked), [1, 2]).process(logits)
    reference = their_processors(0.7, **asked)(torch.tensor([[1, 2]]), logits.float())
    assert ours.dtype == torch.float32
    assert torch.equal(ours.isfinite(), reference.isfinite())
    torch.testing.assert_close(ours.softmax(-1), reference.softmax(-1), rtol=1e-5, atol=0)


@settings(max_examples=100, deadline=None)
@given(logits=LOGITS, asked=SETTINGS)
def test_some_token_is_always_left_and_chosen(logits, asked):
    sampler = Sampler(Sampling(**asked, seed=3), [1])
    chosen = sampler.choose(torch.tensor([logits]), confident=True)
    assert math.isfinite(chosen.logits[0, chosen.tokens[0]])
    assert 0 < chosen.confidences[0] <= 1 + 1e-6


@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, asked=SETTINGS)
def test_confidence_is_the_probability_of_what_was_chosen(logits, asked):
    sampler = Sampler(Sampling(**asked, seed=3), [1])
    chosen = sampler.choose(torch.tensor([logits, logits[::-1]]), [2], confident=True)
    probabilities = chosen.logits.double().softmax(-1)
    expected = [float(probabilities[row, token]) for row, token in enumerate(chosen.tokens)]
    assert chosen.confidences == pytest.approx(expected, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(logits=st.lists(st.lists(COARSE, min_size=40, max_size=40), min_size=1, max_size=4))
def test_ties_choose_the_lowest_id(logits):
    chosen = Sampler(Sampling(), [1]).choose(torch.tensor(logits), [0] * (len(logits) - 1))
    assert chosen.tokens == [row.index(max(row)) for row in logits]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [VOCABULARY, 1_000, 32_000, 128_256])
def test_ties_choose_the_lowest_id_of_a_large_vocabulary(size, dtype):
    logits = torch.zeros(3, size, dtype=dtype)
    logits[1, [size // 2, size - 1]] = 1.0
    logits[2, [size - 2, size - 1]] = 1.0
    assert Sampler(Sampling(), [1]).choose(logits, [0, 0]).tokens == [0, size // 2, size - 2]
    shadow, _ = Sampler(Sampling(), [1]).shadow(logits, 1, [0, 0], 0)
    assert shadow.tolist() == [[0, size // 2, size - 2]]


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"repetition_penalty": 1.2},
        {"temperature": 0.8},
        {"temperature": 0.8, "top_k": 3},
        {"temperature": 0.8, "top_p": 0.5},
        {"temperature": 0.8, "min_p": 0.1},
        {"temperature": 0.8, "top_k": 3, "top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.2},
    ],
    ids=str,
)
def test_of_nan_logits_no_token_is_chosen(asked, row):
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(0))
    sound = Sampler(Sampling(**asked, seed=0), [1, 2]).choose(logits, [3]).tokens
    logits[row, 7] = math.nan
    chosen = Sampler(Sampling(**asked, seed=0), [1, 2]).choose(logits, [3]).tokens
    assert chosen[row] == NO_TOKEN
    assert chosen[1 - row] == sound[1 - row]


BLANK = torch.zeros(1, VOCABULARY)


def noise_at(seed, position):
    """The noise of one position, asked for directly after a text that ends there."""
    return Sampler(Sampling(1.0, seed=seed), [0] * position).noise(BLANK, 0)[0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    questions=st.lists(
        st.tuples(st.integers(1, 4), st.integers(-3, 5), st.integers(1, 6)), min_size=1, max_size=5
    ),
)
def test_noise_is_a_function_of_seed_and_position(seed, questions):
    """Whatever was asked before, in whatever order, over texts that grow in between."""
    tokens = [0] * 4
    sampler = Sampler(Sampling(1.0, seed=seed), tokens)
    for grown, first, rows in questions:
        tokens.extend([9] * grown)
        noise = sampler.noise(BLANK.expand(rows, -1), first)
        for row in range(rows):
            assert torch.equal(noise[row], noise_at(seed, len(tokens) + first + row))


def test_neighbouring_seeds_and_positions_have_noise_of_their_own():
    drawn = [noise_at(seed, position) for seed in range(12) for position in range(12)]
    assert len({tuple(noise.tolist()) for noise in drawn}) == len(drawn)
    table = torch.stack(drawn).double()
    off_diagonal = table.corrcoef() - torch.eye(len(drawn))
    assert off_diagonal.abs().max() < 0.9  # 10 000 pairs of 23 numbers: chance stays below 0.8


def test_noise_is_gumbel_so_choices_are_distributed_as_the_processed_logits():
    wide = torch.zeros(1, 50_000)
    noise = Sampler(Sampling(1.0, seed=1), [0]).noise(wide, 0).double()
    sorted_noise = noise[0].sort().values
    expected = torch.exp(-torch.exp(-sorted_noise))  # Gumbel's distribution function
    steps = torch.arange(1, 50_001) / 50_000
    assert (expected - steps).abs().max() < 0.009  # Kolmogorov-Smirnov, p = 0.0006
    assert torch.isfinite(noise).all()

    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -4.0])
    rows = logits.repeat(20_000, 1)
    tokens = Sampler(Sampling(0.9, top_k=4, seed=2), [0]).choose(rows).tokens
    counts = torch.bincount(torch.tensor(tokens), minlength=5).double()
    probabilities = torch.cat(((logits[:4].double() / 0.9).softmax(-1), torch.zeros(1)))
    assert counts[4] == 0
    deviation = (counts[:4] - 20_000 * probabilities[:4]) ** 2 / (20_000 * probabilities[:4])
    assert deviation.sum() < 17.7  # chi-square with 3 degrees of freedom, p = 0.0005


def test_shadow_chooses_as_choose_does():
    logits = torch.randn(3, 4, VOCABULARY, generator=torch.Generator().manual_seed(8))
    asked = Sampling(0.8, top_k=9, repetition_penalty=1.3, seed=11)
    tokens, confidence = Sampler(asked, [1, 2]).shadow(logits.flatten(0, 1), 3, [3, 4, 5], 0)
    for layer in range(3):
        chosen = Sampler(asked, [1, 2]).choose(logits[layer], [3, 4, 5], confident=True)
        assert tokens[layer].tolist() == chosen.tokens
        assert confidence[layer].tolist() == chosen.confidences


def test_a_seed_is_drawn_where_none_is_given():
    seeds = {Sampler(Sampling(1.0), [0]).seed for _ in range(4)}
    assert len(seeds) == 4
    assert Sampler(Sampling(1.0, seed=0), [0]).seed == 0


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("temperature", -0.1, "at least 0"),
        ("temperature", math.nan, "finite"),
        ("temperature", math.inf, "finite"),
        ("top_k", -1, "at least 0"),
        ("top_p", 0.0, "above 0"),
        ("top_p", 1.01, "at most 1"),
        ("top_p", math.nan, "finite"),
        ("min_p", -0.01, "between 0 and 1"),
        ("min_p", 1.01, "between 0 and 1"),
        ("min_p", math.nan, "finite"),
        ("repetition_penalty", 0.0, "above 0"),
        ("repetition_penalty", -1.0, "above 0"),
        ("repetition_penalty", math.inf, "finite"),
        ("acceptance", "typical", "shared-noise or speculative"),
    ],
)
def test_bad_values_are_refused_by_name(name, value, allowed):
    with pytest.raises(DynexitError, match=f"^{name} is .*{allowed}"):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", "hot"), ("temperature", None), ("top_k", 2.5), ("top_k", "5"), ("seed", 0.5)],
)
def test_values_of_another_type_are_refused_by_name(name, value):
    with pytest.raises(DynexitError, match=f"^{name} is "):
        Sampling(**{name: value})


@pytest.mark.parametrize("value", [0.0, 1, 0.7])
def test_limits_of_the_ranges_are_fine(value):
    sampling = Sampling(value, 0, 1.0, 1.0, 0.01, 0, "speculative")
    assert sampling.greedy == (value == 0)
