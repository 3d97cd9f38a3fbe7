"""A rejected draft whose embedding is no number spoils nothing: the text is plain decoding's."""

import random
from functools import cache
from itertools import product

import pytest
import torch
from test_trees import Bushy
from tiny import DRAFTING, FAMILIES, Fixed, decode, random_model, thrice

from dynexit import LanguageModel, Sampling
from dynexit.decoding.sampling import NotNumbersError
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together
from dynexit.model.graphs.host import attend
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.native.binding import runtimes
from dynexit.model.native.transformer import NativeTransformer

VALUES = [float("nan"), float("inf")]
DAMAGED, LENGTH = (7, 19, 23), 24  # of 29 tokens
SLOW = ["eager", "graphs"]
KINDS = [*runtimes(), *SLOW]
RULES = {
    "greedy": Sampling(),
    "sampled": Sampling(1.2, seed=5),
}


@cache
def model_of(kind, value, family="llama"):
    model = random_model(FAMILIES[family], depth_gain=0.6, dtype=torch.float32)
    model.embedding.weight[list(DAMAGED)] = value
    if kind == "eager":
        return model
    if kind == "graphs":
        return RecordedTransformer(model, thrice, attend)
    native = NativeTransformer.packing(model.bfloat16(), isa=kind, threads=2)
    native.copy_for_drafts(3, 29)
    return native


def prompts(count):
    draw = random.Random(count)
    sound = [token for token in range(29) if token not in DAMAGED]
    return [draw.choices(sound, k=draw.choice((3, 12, 40, 70))) for _ in range(count)]


def text_of(model, prompt, method, rule):
    """The tokens, or none where the target itself has no numbers."""
    try:
        return decode(model, prompt, method, LENGTH, sampling=rule)[0].new_tokens
    except NotNumbersError:
        return None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("kind", "value"), [*product(runtimes(), VALUES), *zip(SLOW, VALUES, strict=True)]
)
def test_every_method_writes_what_plain_decoding_writes(kind, value, rule):
    model, written, drafted = model_of(kind, value), 0, 0
    trees = [Bushy(2, 9), Bushy(3, 5, 2, "early-exit-int8")] if kind in runtimes() else []
    methods = [*DRAFTING, "auto:exits=false", Fixed(1, 6), Fixed(3, 4), *trees]
    for prompt, method in zip(prompts(len(methods)), methods, strict=True):
        plain = text_of(model, prompt, "vanilla", RULES[rule])
        assert text_of(model, prompt, method, RULES[rule]) == plain, method
        written += plain is not None
        drafted += plain is None
    assert written
    assert drafted, "no text came to a token that is no number: there may have been no such drafts"


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_share_passes(kind):
    model = model_of(kind, VALUES[0])
    lm = LanguageModel(model)
    sound = [p for p in prompts(10) if text_of(model, p, "vanilla", Sampling()) is not None]
    texts = [lm.sequence(p, Fixed(1, 6), max_new_tokens=LENGTH) for p in sound]
    generate_together(texts, Scheduler(model))
    assert len(texts) > 2
    for prompt, text in zip(sound, texts, strict=True):
        assert text.new_tokens == text_of(model, prompt, "vanilla", Sampling())


@pytest.mark.parametrize("kind", [next(iter(runtimes())), "eager"])
def test_speculative_acceptance_goes_on_where_it_can(kind):
    """Distributed as plain decoding is, so that as many texts meet a token that is no number."""
    model, rule = model_of(kind, VALUES[0]), {"temperature": 3.0, "acceptance": "speculative"}
    ended = {"vanilla": 0, "layerskip": 0}
    for method in ended:
        for seed in range(60):
            try:
                LanguageModel(model).generate(
                    [3, 1, 4], method, max_new_tokens=6, seed=seed, **rule
                )
            except NotNumbersError:
                ended[method] += 1
    assert 10 < ended["vanilla"] < 50
    assert abs(ended["vanilla"] - ended["layerskip"]) < 17  # 3 standard deviations


def test_a_second_model_without_numbers_drafts_nothing():
    model, second = model_of("eager", 0.0), random_model(dtype=torch.float32)
    second.head.weight[3] = float("nan")
    plain = text_of(model, [3, 1, 4], "vanilla", Sampling())
    sequence, _ = decode(model, [3, 1, 4], "two-model", LENGTH, second=second)
    assert sequence.new_tokens == plain
    assert sequence.stats.drafted == 0
