"""The native library checks what it is given: a sentence, and never memory that is not its own."""

import copy
import pickle
from ctypes import byref, c_int64
from dataclasses import replace

import pytest
import torch
from tiny_checkpoints import SHAPE, prefilled, random_model, read, refusal, tokens_for

import dynexit
from dynexit.model.config import ModelConfig
from dynexit.model.drafting_rule import DraftingRule, Pricing
from dynexit.model.interface import Span
from dynexit.model.native.binding import Matrix, Shape, Vector, check, pointer, runtimes
from dynexit.model.native.transformer import NativeTransformer

VOCABULARY, DEPTH = SHAPE["vocab_size"], SHAPE["num_hidden_layers"]
RULE = DraftingRule(2, 4)


@pytest.fixture(scope="module", params=sorted(runtimes()))
def model(request, eager):
    """A model of whose layers a copy holds two."""
    native = NativeTransformer.packing(eager(max_position_embeddings=1024), isa=request.param)
    native.copy_for_drafts(2, 60)
    return native


def first_rows(count, width=SHAPE["hidden_size"]):
    return torch.ones(count, width)


def run(model, span, start=0, stop=1, rows=1):
    return model.run_layers(first_rows(rows), model.rows([span]), start, stop)


# Token ids.


@pytest.mark.parametrize("token", [-1, VOCABULARY, 10**9, -(2**63), 2**63 - 1])
def test_ids_outside_the_vocabulary(model, token):
    cache = prefilled(model, 3)
    span, sentence = Span(cache, 3, 2), f"token id {token} is outside the vocabulary of 97 tokens."
    for each in (model, model.draft_copy):
        assert refusal(lambda each=each: each.embed([0, token])) == sentence
        assert refusal(lambda each=each: each.draft(cache, 3, token, RULE, False)) == sentence
    assert refusal(lambda: model.verify([0, token], span, 0, DEPTH)) == sentence


@pytest.mark.parametrize("variant", ["gqa", "tied"])
def test_the_last_id_is_one(eager, variant):
    native = NativeTransformer.packing(eager("llama", variant))
    assert native.embed([VOCABULARY - 1]).isfinite().all()
    assert "vocabulary of 97" in refusal(lambda: native.embed([VOCABULARY]))


# Layers.


@pytest.mark.parametrize(
    ("start", "stop"), [(-1, 1), (0, DEPTH + 1), (3, 9), (2**31 - 2, 2**31 - 1)]
)
def test_layers_that_are_none(model, start, stop):
    span = Span(prefilled(model, 3), 3, 1)
    told = f"layers {start} to {stop} are not among the 4 of this model."
    assert refusal(lambda: run(model, span, start, stop)) == told
    assert refusal(lambda: model.verify([1], span, start, stop)) == told


@pytest.mark.parametrize("exit_layer", [3, DEPTH])
def test_layers_that_a_copy_does_not_hold(model, exit_layer):
    cache, rule = prefilled(model, 3), replace(RULE, exit_layer=exit_layer)
    small, told = model.draft_copy, "layer 3 holds no weights here."
    assert refusal(lambda: small.draft(cache, 3, 1, rule, False)) == told
    assert refusal(lambda: run(small, Span(cache, 3, 1), 0, exit_layer)) == told
    assert refusal(lambda: small.verify([1], Span(cache, 3, 1), 0, exit_layer)) == told
    assert len(model.draft(cache, 3, 1, rule, False).nodes.tokens) == 4


@pytest.mark.parametrize("exit_layer", [-3, 0, DEPTH + 1, 2**31 - 1])
def test_exits_that_are_none(model, exit_layer):
    rule = replace(RULE, exit_layer=exit_layer)
    refusal(lambda: model.draft(prefilled(model, 3), 3, 1, rule, False))


def test_a_model_without_weights(model, eager):
    empty = NativeTransformer(eager().config, torch.float32)
    assert "vocabulary of 0 tokens" in refusal(lambda: empty.embed([0]))
    assert refusal(lambda: empty.read(first_rows(1))) == "this model has no head."
    span = Span(empty.new_cache(), 0, 1)
    assert refusal(lambda: run(empty, span)) == "layer 1 holds no weights here."
    assert refusal(lambda: empty.copy_for_drafts(1, 60)) == "this model has no head."
    assert empty.draft_copy is None


# Positions, rows and slots.


@pytest.mark.parametrize(
    "span",
    [
        {"start": -1},
        {"start": 1023, "length": 2},
        {"length": -1},
        {"length": 2, "parents": (-1,), "slot": 20},
        {"length": 3, "parents": (0, -2), "slot": 20},
        {"length": 2, "parents": (0,), "slot": 3},
        {"length": 2, "parents": (0,), "slot": -7},
        {"length": 2, "parents": (0,), "slot": 2**31 - 1},
    ],
    ids=str,
)
def test_places_that_are_none(model, span):
    given = Span(prefilled(model, 3), **{"start": 3, "length": 1, **span})
    rows = given.length
    refusal(lambda: run(model, given, rows=max(rows, 0)))
    refusal(lambda: model.verify([1] * rows, given, 0, DEPTH))


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (1022, 2), (3, -1)])
def test_drafts_past_the_context(model, start, length):
    rule = replace(RULE, depth=length)
    refusal(lambda: model.draft(prefilled(model, 3), start, 1, rule, False))


@pytest.mark.parametrize(
    ("slot", "position"), [(-1, 2), (2, -1), (256, 2), (2, 256), (2**31 - 1, 0)]
)
def test_slots_that_are_none(model, slot, position):
    cache = prefilled(model, 3)
    told = f"slots {slot} and {position} are not among 256."
    assert refusal(lambda: cache.move(slot, position)) == told
    assert "among 0" in refusal(lambda: model.new_cache().move(0, 0))


def test_a_cache_of_another_model(model, eager):
    other = NativeTransformer.packing(eager("llama", "wide-heads"))
    foreign = Span(prefilled(other, 3), 3, 1)
    assert refusal(lambda: run(model, foreign)) == "a cache is of another model."
    assert "another model" in refusal(lambda: model.verify([1], foreign, 0, DEPTH))
    assert "another model" in refusal(lambda: model.draft(foreign.cache, 3, 1, RULE, False))


@pytest.mark.parametrize("hidden", [first_rows(1), first_rows(2, 31), first_rows(2).double()])
def test_hidden_states_that_do_not_fit(model, hidden):
    span = Span(prefilled(model, 3), 3, 2)
    told = "do not fit 2 rows of 32 in fp32"
    assert told in refusal(lambda: model.run_layers(hidden, model.rows([span]), 0, 1))
    assert told in refusal(lambda: model.verify(hidden, span, 0, DEPTH))


@pytest.mark.parametrize("limit", [0, -1])
def test_no_tokens_of_the_head(model, limit):
    told = f"{limit} tokens cannot be read of a head of 97."
    assert refusal(lambda: model.read(first_rows(1), limit)) == told
    rule = replace(RULE, limit=limit)
    assert refusal(lambda: model.draft(prefilled(model, 3), 3, 1, rule, False)) == told


@pytest.mark.parametrize("odds", [((),), ((), ()), ((1.0,),) * 5])
def test_odds_that_are_none_or_too_many(model, odds):
    rule = replace(RULE, pricing=Pricing(odds, (0.0,), ()))
    if odds == ((),):  # the best child, always
        assert model.draft(prefilled(model, 3), 3, 1, rule, False).nodes.ranks == [0]
    else:
        refusal(lambda: model.draft(prefilled(model, 3), 3, 1, rule, False))


# Shapes and weights.

SMALL = ModelConfig("llama", 10, 8, 8, 2, 2, 2, 4, max_positions=40)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: value} for name in ("hidden_size", "head_dim") for value in (0, -2, 2**31, 7)),
        *({"num_layers": value} for value in (0, -1, 2**31 - 1, 2**31, 10**6)),
        {"num_kv_heads": 0},
        {"num_heads": 3},
        {"num_heads": 2**20, "head_dim": 2**20},
        {"intermediate_size": 2**31 - 2},
    ],
    ids=str,
)
def test_shapes_that_no_model_has(changes):
    refusal(lambda: NativeTransformer(replace(SMALL, **changes), torch.float32))


@pytest.mark.parametrize("threads", [-1, 9999, 10**6])
def test_threads_that_no_machine_has(threads):
    told = f"{threads} threads are too many or too few"
    assert told in refusal(lambda: NativeTransformer(SMALL, torch.float32, threads=threads))


def test_matrices_of_another_shape(model):
    weight = torch.zeros(64, 32)
    given = weight.data_ptr(), 64, 32, 1, None
    for layer, which in ((0, Matrix.OUT), (0, 7), (-1, Matrix.QKV), (DEPTH, Matrix.QKV)):
        refusal(lambda at=(layer, which): model.call("set_matrix", model.handle, *at, *given))
    refusal(
        lambda: model.call("set_vector", model.handle, 0, Vector.MLP_NORM, weight.data_ptr(), 31)
    )
    refusal(lambda: model.call("set_vector", model.handle, 0, 9, weight.data_ptr(), 32))
    refusal(lambda: model.call("set_embedding", model.handle, None, 97, 1))
    refusal(lambda: model.call("set_embedding", model.handle, weight.data_ptr(), 64, 2))


def test_no_memory_is_told(model):
    wide = Shape(2**29, 2**29, 1, 2**10, 2**10, 2**10, 1, 1, 1e-6)
    handle, weight = pointer(), c_int64()
    check(model.runtime, model.runtime.model_new(byref(wide), 1, byref(handle)))
    given = handle, 0, Matrix.GATE_UP, byref(weight), 2**30, 2**29, 1, None
    told = refusal(lambda: model.call("set_matrix", *given))  # more than there are addresses
    model.runtime.model_free(handle)
    assert "out of memory" in told


# Copies.


def test_models_and_caches_are_not_copied(model):
    for held in (model, model.new_cache(), dynexit.LanguageModel(model)):
        for way in (copy.deepcopy, pickle.dumps):
            assert "cannot be copied or pickled" in refusal(lambda way=way, held=held: way(held))
    for held in (model, model.new_cache()):
        assert "cannot be copied" in refusal(lambda held=held: copy.copy(held))
    assert model.embed([1]).isfinite().all()


# Tokenizers whose ids the model does not have.


@pytest.mark.parametrize("runtime", ["native", "eager"])
def test_a_tokenizer_with_ids_that_the_model_lacks(tmp_path, runtime):
    from dynexit.training.vocabulary import byte_level_tokenizer, save_tokenizer

    random_model().save_pretrained(tmp_path)
    save_tokenizer(byte_level_tokenizer(300, ["The sky was grey."]), tmp_path, 512)
    loading = {"dtype": "fp32", "device": "cpu", "runtime": runtime}
    told = refusal(lambda: dynexit.load(tmp_path, **loading))
    assert "is outside the vocabulary of 97 tokens" in told
    lm = dynexit.load(tmp_path, **loading, check=False)
    assert "is outside the vocabulary" in refusal(lambda: lm.generate("The sky", "vanilla"))
    prompt = tokens_for(5).tolist()
    assert len(lm.generate(prompt, "vanilla", max_new_tokens=4).token_ids) == 4
    assert read(tmp_path).config.vocab_size == VOCABULARY
