"""Texts that take over what others have read write what they write alone, and read the rest."""

import random
from dataclasses import replace

import pytest
import torch
from tiny import ALONE, LLAMA, LOSSLESS, random_model

import dynexit
from dynexit import LanguageModel
from dynexit.decoding.prefixes import PrefixCache
from dynexit.decoding.reuse import Reuse
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together
from dynexit.methods import make_controller
from dynexit.model.interface import BLOCK
from dynexit.model.native.transformer import NativeTransformer

LONG = replace(LLAMA, max_positions=700)
LOSSY = [name for name in ALONE if not make_controller(name).lossless]
PROMPT = [(7 * position + position // 5) % 29 for position in range(150)]
RULES = ({}, {"temperature": 0.9, "seed": 5})


class Counted:
    """A model that counts the rows that go through its last layer."""

    def __init__(self, model) -> None:
        self._model, self.rows_run = model, 0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def run_layers(self, hidden, rows, start, stop, *rest):
        self.rows_run += len(hidden) if stop == self.config.num_layers else 0
        return self._model.run_layers(hidden, rows, start, stop, *rest)


@pytest.fixture(scope="module", params=["fp32", "bf16", "int8", "eager"])
def lm(request):
    model = random_model(LONG, depth_gain=0.7, dtype=torch.float32)
    if request.param == "eager":
        return LanguageModel(model)
    dtype = torch.float32 if request.param == "fp32" else torch.bfloat16
    weights = "int8" if request.param == "int8" else None
    return LanguageModel(NativeTransformer.packing(model.to(dtype), weights=weights))


@pytest.fixture(scope="module")
def native_lm():
    """One that counts."""
    model = random_model(LONG, depth_gain=0.7, dtype=torch.float32)
    return LanguageModel(Counted(NativeTransformer.packing(model)))


def texts_that_begin_alike(seed=0):
    chance = random.Random(seed)
    for _ in range(5):
        keep, more = chance.randint(1, len(PROMPT)), chance.randint(1, 70)
        yield PROMPT[:keep] + [chance.randrange(29) for _ in range(more)]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("method", LOSSLESS)
def test_the_text_is_the_one_that_it_is_alone(lm, method):
    """In the native runtime to the bit; in PyTorch these are greedy texts."""
    exact, known = lm.model.rows_independent, lm.prefix_cache("10MB")
    found = 0
    for prompt in [*texts_that_begin_alike(), PROMPT, PROMPT]:
        for rule in RULES if exact else RULES[:1]:
            asked = {"max_new_tokens": 40, **rule}
            text = lm.generate(prompt, method, reuse=Reuse(known), **asked)
            assert text.token_ids == lm.generate(prompt, "vanilla", **asked).token_ids
            found += text.stats.cached_tokens
    assert found > 3 * BLOCK


@pytest.mark.parametrize("method", LOSSLESS)
def test_log_probabilities_are_the_same_to_the_bit(native_lm, method):
    known, asked = native_lm.prefix_cache(), {"max_new_tokens": 20, "logprobs": 3}
    for prompt in (PROMPT, PROMPT[:100], PROMPT):
        with_it, without = (
            [
                chunk.logprobs
                for chunk in native_lm.stream(prompt, method, reuse=Reuse(cache), **asked)
            ]
            for cache in (known, None)
        )
        assert with_it == without
    assert known.hits == 2


@pytest.mark.parametrize("method", LOSSLESS)
def test_controllers_read_as_much_of_a_prompt_as_ever(native_lm, method):
    told = []

    def observing(controller):
        observe = controller.observe_prompt
        controller.observe_prompt = lambda shadow: (told.append(shadow), observe(shadow))[1]
        return controller

    known = native_lm.prefix_cache()
    for _ in range(2):
        controller = observing(make_controller(method))
        native_lm.generate(PROMPT, controller, reuse=Reuse(known), max_new_tokens=4)
    assert known.hits == 1
    if told:
        first, second = told
        assert first.matched.tolist() == second.matched.tolist()


def test_the_last_token_is_always_read(native_lm):
    prompt = PROMPT[: 3 * BLOCK]
    known = native_lm.prefix_cache()
    native_lm.generate(prompt, "vanilla", reuse=Reuse(known), max_new_tokens=1)
    before = native_lm.model.rows_run
    again = native_lm.generate(prompt, "vanilla", reuse=Reuse(known), max_new_tokens=1)
    assert again.stats.cached_tokens == 2 * BLOCK
    assert native_lm.model.rows_run - before == BLOCK


def test_the_tenth_turn_reads_its_own_tokens_alone(native_lm):
    """And what of the last answer filled no block."""
    session = native_lm.session()
    conversation, chance = [], random.Random(3)
    for _ in range(10):
        turn = [chance.randrange(29) for _ in range(20)]
        conversation += turn
        before = native_lm.model.rows_run
        answer = session.generate(conversation, max_new_tokens=30)
        read = native_lm.model.rows_run - before
        rounds = sum(1 + done.drafted for done in answer.stats.rounds)
        asked = len(conversation) - answer.stats.cached_tokens
        assert asked <= len(turn) + BLOCK
        assert read <= asked + rounds
        alone = native_lm.generate(conversation, "vanilla", max_new_tokens=30)
        assert answer.token_ids == alone.token_ids
        conversation += answer.token_ids
    assert len(conversation) > 450


def test_log_probabilities_of_a_prompt_need_all_of_it_read(native_lm):
    known, asked = native_lm.prefix_cache(), {"max_new_tokens": 2, "logprobs": 2}
    said = []
    for _ in range(2):
        text = native_lm.sequence(
            PROMPT, "vanilla", prompt_logprobs=True, reuse=Reuse(known), **asked
        )
        scheduler = Scheduler(native_lm.model)
        generate_together([text], scheduler)
        said.append(text.prompt_logprobs)
        assert text.stats.cached_tokens == 0
    assert said[0] == said[1]
    assert len(said[0]) == len(PROMPT) - 1
    text = native_lm.generate(PROMPT, "vanilla", reuse=Reuse(known), max_new_tokens=1)
    assert text.stats.cached_tokens == 4 * BLOCK  # what was read for them is known to others


def test_a_prompt_that_is_only_read_is_known_to_others(native_lm):
    known = native_lm.prefix_cache()
    native_lm.generate(PROMPT, reuse=Reuse(known), max_new_tokens=0)
    text = native_lm.generate(PROMPT, reuse=Reuse(known), max_new_tokens=1)
    assert text.stats.cached_tokens == 4 * BLOCK


@pytest.mark.parametrize("method", LOSSY)
def test_a_method_that_runs_no_last_layers_neither_gives_nor_takes(native_lm, method):
    known = native_lm.prefix_cache()
    for _ in range(2):
        text = native_lm.generate(PROMPT, method, reuse=Reuse(known), max_new_tokens=4)
        sequence = native_lm.sequence(PROMPT, method)
        whole = sequence.depth == native_lm.num_layers
        assert (len(known) > 0) == whole
    assert (text.stats.cached_tokens > 0) == whole


@pytest.mark.parametrize("method", ["vanilla", "layerskip", "auto"])
def test_texts_that_come_at_once_wait_for_the_first_to_read_what_they_share(native_lm, method):
    known, count, shared = native_lm.prefix_cache(), 8, PROMPT[: 4 * BLOCK] * 4
    prompts = [[*shared, number, 3, number + 1] for number in range(count)]
    sequences = [
        native_lm.sequence(prompt, method, reuse=Reuse(known), max_new_tokens=12)
        for prompt in prompts
    ]
    before = native_lm.model.rows_run
    generate_together(sequences, Scheduler(native_lm.model))
    read = native_lm.model.rows_run - before
    cached = [sequence.stats.cached_tokens for sequence in sequences]
    assert cached == [0] + [len(shared)] * (count - 1)
    assert read < len(shared) + count * (3 + 8 * 12)
    for prompt, sequence in zip(prompts, sequences, strict=True):
        alone = native_lm.generate(prompt, "vanilla", max_new_tokens=12)
        assert sequence.new_tokens == alone.token_ids


def test_a_crowd_within_a_bound_that_is_too_small_for_it(native_lm):
    """Blocks come and go between the prefill and the end of each."""
    block = native_lm.model.new_cache().block_bytes
    known = PrefixCache(7 * (block + 200), block)
    prompts = [*texts_that_begin_alike(1), *texts_that_begin_alike(2), PROMPT * 3]
    sequences = [
        native_lm.sequence(prompt, "auto", reuse=Reuse(known), max_new_tokens=70)
        for prompt in prompts
    ]
    generate_together(sequences, Scheduler(native_lm.model))
    assert known.dropped > 0
    assert known.bytes <= known.limit
    for prompt, sequence in zip(prompts, sequences, strict=True):
        alone = native_lm.generate(prompt, "vanilla", max_new_tokens=70)
        assert sequence.new_tokens == alone.token_ids


def test_salts_share_nothing(native_lm):
    known = native_lm.prefix_cache()

    def cached(salt: str) -> int:
        reuse = Reuse(known, salt=salt)
        return native_lm.generate(PROMPT, reuse=reuse, max_new_tokens=1).stats.cached_tokens

    assert [cached("one"), cached("other"), cached("one")] == [0, 0, 4 * BLOCK]


def test_the_default_is_where_it_changes_no_bit():
    model = random_model(LONG, dtype=torch.float32)
    assert LanguageModel(model).prefix_cache() is None
    assert LanguageModel(model).session().cache is None
    assert LanguageModel(model).prefix_cache("1MB").limit == 10**6
    native = LanguageModel(NativeTransformer.packing(model))
    assert native.session().cache.limit == 10**9
    assert native.session(cache_memory=0).cache is None


def test_a_document_is_read_once_and_kept_in_a_file(tmp_path):
    lm, file = dynexit.load(device="cpu", check=False), tmp_path / "document.safetensors"
    document = lm.tokenizer.encode("The old house stood at the end of the lane. " * 20)
    reader = lm.session(cache_memory="100MB")
    reader.generate(document, max_new_tokens=0)
    reader.cache.save(file)
    later = lm.session(cache_memory="100MB")
    assert later.cache.load(file) == len(document) // BLOCK * BLOCK
    asked = [*document, *lm.tokenizer.encode(" Who lived there?")]
    text = later.generate(asked, max_new_tokens=20)
    assert text.stats.cached_tokens == len(document) // BLOCK * BLOCK
    assert text.token_ids == lm.generate(asked, "vanilla", max_new_tokens=20).token_ids
    other = dynexit.load(device="cpu", check=False, dtype="fp32").session(cache_memory="100MB")
    with pytest.raises(dynexit.DynexitError, match="which rounds differently"):
        other.cache.load(file)
