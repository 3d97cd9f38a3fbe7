"""The native runtime computes what PyTorch does, and every row as if there were no others."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_checkpoints import VARIANTS, forward, random_model, read, refusal, tokens_for

from dynexit import DynexitError, LanguageModel, load
from dynexit.model.families import families
from dynexit.model.interface import Span
from dynexit.model.loading import load_shape
from dynexit.model.native.binding import find_library, runtimes
from dynexit.model.native.loading import load_native
from dynexit.model.native.transformer import NativeTransformer

LENGTH = 40
CASES = [(name, variant) for name in families() for variant in VARIANTS.get(name, {"none": {}})]
ISAS = sorted(runtimes())
BASELINES = {"portable", "neon"}  # that any machine of its architecture runs
FORMATS = [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, "int8")]
WAYS = ([40], [1] * 40, [3, 1, 7, 12, 2, 15], [26, 14])


def in_parts(model, tokens, lengths):
    """Logits [T, V] of `tokens`, of which so many are computed at once."""
    cache, ends = model.new_cache(), [0, *torch.tensor(lengths).cumsum(0).tolist()]
    return torch.cat([forward(model, tokens[a:b], cache, a) for a, b in pairwise(ends)])


def test_the_library_was_built_and_runs_here():
    assert find_library() is not None
    assert BASELINES & set(ISAS)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_logits_of_every_layer_are_those_of_the_eager_path(eager, name, variant, isa):
    model, tokens = eager(name, variant), tokens_for(LENGTH)
    native = NativeTransformer.packing(model, isa=isa)
    theirs, ours = [], []
    for each, states in ((model, theirs), (native, ours)):
        forward(each, tokens, states=states)
    assert len(ours) == model.config.num_layers
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(native.unembed(mine), model.unembed(other), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_bf16_is_nearer_to_exact_numbers_than_pytorch_is(eager, name, variant, isa):
    """Exact: the same bf16 weights, computed in fp32."""
    model, tokens = eager(name, variant), tokens_for(LENGTH)
    narrow = model.to(torch.bfloat16)
    ours = forward(NativeTransformer.packing(narrow, isa=isa), tokens)
    theirs, exact = forward(narrow, tokens).float(), forward(model.float(), tokens)
    off = [float((logits - exact).square().mean().sqrt()) for logits in (ours, theirs)]
    assert 0 < off[0] < off[1] < 0.1 * float(exact.std())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("intermediate", [40, 64, 88])
def test_sizes_that_fill_no_vector(eager, isa, intermediate, dtype):
    model = eager(hidden_size=24, intermediate_size=intermediate, head_dim=6, vocab_size=101)
    native, tokens = NativeTransformer.packing(model.to(dtype), isa=isa), tokens_for(30, 0, 101)
    expected = forward(model.float(), tokens)
    rounding = 1e-4 if dtype == torch.float32 else 0.2 * float(expected.std())
    torch.testing.assert_close(forward(native, tokens), expected, atol=rounding, rtol=1e-4)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("dtype", "weights"), FORMATS)
def test_a_row_is_the_same_to_the_bit_whatever_runs_beside_it(eager, isa, dtype, weights):
    native = NativeTransformer.packing(eager().to(dtype), isa=isa, weights=weights)
    tokens = tokens_for(LENGTH)
    whole = in_parts(native, tokens, WAYS[0])
    for way in WAYS[1:]:
        assert torch.equal(in_parts(native, tokens, way), whole)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_the_number_of_threads_changes_nothing(eager, threads):
    model, tokens = eager(), tokens_for(LENGTH)
    alone = forward(NativeTransformer.packing(model, threads=1), tokens)
    assert torch.equal(forward(NativeTransformer.packing(model, threads=threads), tokens), alone)


def test_sequences_side_by_side_are_what_they_are_alone(eager):
    native = NativeTransformer.packing(eager())
    first, second = tokens_for(23), tokens_for(31, seed=1)
    cache_a, cache_b = native.new_cache(), native.new_cache()
    forward(native, second[:20], cache_b)
    hidden = native.embed(torch.cat((first, second[20:])))
    rows = native.rows([Span(cache_a, 0, 23), Span(cache_b, 20, 11)])
    together = native.unembed(native.run_layers(hidden, rows, 0, native.config.num_layers))
    assert torch.equal(together[:23], forward(native, first))
    assert torch.equal(together[23:], forward(native, second)[20:])


def test_layers_run_in_parts_and_leave_their_input_alone(eager):
    native, tokens = NativeTransformer.packing(eager()), tokens_for(LENGTH)
    rows, hidden = native.rows([Span(native.new_cache(), 0, LENGTH)]), native.embed(tokens)
    before, depth = hidden.clone(), native.config.num_layers
    halfway = native.run_layers(hidden, rows, 0, 2)
    kept = []
    last = native.run_layers(halfway, rows, 2, depth, kept, keep=3)
    assert torch.equal(hidden, before)
    assert torch.equal(native.unembed(last), forward(native, tokens))
    assert [state.shape[0] for state in kept] == [3] * (depth - 2)
    assert torch.equal(kept[-1], last[-3:])
    assert torch.equal(native.run_layers(hidden, rows, 2, 2), hidden)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("vocabulary_size", [300, 251, 37])
def test_readings_are_those_of_the_logits(eager, isa, vocabulary_size):
    native = NativeTransformer.packing(eager(vocab_size=300), isa=isa)
    native.vocabulary_size = vocabulary_size
    hidden = 3.0 * torch.randn(9, native.config.hidden_size)
    logits, readings = native.unembed(hidden), native.read(hidden)
    assert logits.shape == (9, vocabulary_size)
    assert readings.tokens.tolist() == logits.argmax(-1).tolist()
    assert readings.top.tolist() == logits.amax(-1).tolist()
    torch.testing.assert_close(torch.from_numpy(readings.log_sum), logits.logsumexp(-1))
    expected = logits.softmax(-1).amax(-1)
    torch.testing.assert_close(torch.from_numpy(readings.confidence), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("isa", ISAS)
def test_of_equal_logits_the_lowest_id_is_read(eager, isa):
    model = eager(vocab_size=300)
    for token in (9, 77, 200):
        model.head.weight[token] = 50.0 * model.head.weight[3]
    native = NativeTransformer.packing(model, isa=isa, threads=2)
    hidden = model.head.weight[3:4].clone()
    assert native.read(hidden).tokens.tolist() == [9]


@pytest.mark.parametrize("isa", ISAS)
def test_int8_is_the_nearest_of_127_steps_in_a_quarter_of_the_memory(eager, isa):
    model = eager("llama", "tied", hidden_size=64, intermediate_size=128, head_dim=16)
    narrow = NativeTransformer.packing(model, weights="int8", isa=isa)
    assert narrow.bytes < 0.3 * NativeTransformer.packing(model).bytes
    tokens = tokens_for(LENGTH)
    exact = forward(model, tokens)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            step = module.weight.abs().amax(1, keepdim=True) / 127
            module.weight.copy_((module.weight / step).round() * step)
    assert not torch.allclose(forward(model, tokens), exact, atol=1e-2)
    torch.testing.assert_close(
        forward(narrow, tokens), forward(model, tokens), atol=1e-4, rtol=1e-4
    )


def test_a_cache_grows_and_keeps_what_it_holds(eager):
    native = NativeTransformer.packing(eager(max_position_embeddings=1024))
    tokens, cache, sizes = tokens_for(700), native.new_cache(), []
    assert cache.bytes == 0
    for start in range(0, 700, 100):
        forward(native, tokens[start : start + 100], cache, start)
        sizes.append(cache.bytes)
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3
    assert torch.equal(in_parts(native, tokens, [100] * 7), forward(native, tokens))
    assert "past the model's context" in refusal(lambda: native.rows([Span(cache, 1024, 1)]))


def test_weights_that_are_no_numbers_are_told(eager):
    model = eager()
    model.layers[1].qkv.weight[5, 5] = torch.nan
    for sampling in ({}, {"temperature": 0.7, "seed": 1}):
        with pytest.raises(DynexitError, match="NaN"):
            LanguageModel(NativeTransformer.packing(model)).generate(
                [1, 2, 3], "vanilla", **sampling
            )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("token", [0, 40, 96])
def test_one_logit_that_is_no_number_is_told(eager, isa, token):
    model = eager()
    model.head.weight[token] = torch.nan
    lm = LanguageModel(NativeTransformer.packing(model, isa=isa))
    with pytest.raises(DynexitError, match="NaN"):
        lm.generate([1, 2, 3], "vanilla")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [30.0, 3e3, 3e5])
def test_gates_far_from_zero(eager, isa, size):
    model, tokens = eager(), tokens_for(LENGTH)
    for layer in model.layers:
        layer.gate_up.weight[: layer.config.intermediate_size].mul_(size)
        layer.down.weight.div_(size)
    ours = forward(NativeTransformer.packing(model, isa=isa), tokens)
    torch.testing.assert_close(ours, forward(model, tokens), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("variant", ["gqa", "tied"])
@pytest.mark.parametrize("shards", ["20KB", "1GB"])
def test_a_checkpoint_is_packed_part_by_part(tmp_path, variant, shards):
    random_model("llama", variant).save_pretrained(tmp_path, max_shard_size=shards)
    model = read(tmp_path)
    native = load_native(tmp_path, load_shape(tmp_path), torch.float32)
    tokens = tokens_for(LENGTH)
    assert torch.equal(forward(native, tokens), forward(NativeTransformer.packing(model), tokens))


def test_load_chooses_the_runtime(checkpoint):
    assert load(checkpoint, check=False).model.runtime_name.startswith("native")
    assert load(checkpoint, check=False, runtime="eager").model.runtime_name == "eager"
    assert load(checkpoint, "fp64", check=False).model.runtime_name == "eager"
    sentence = refusal(lambda: load(checkpoint, "fp16", check=False, runtime="native"))
    assert "float16" in sentence
    assert "--runtime eager" in sentence
    assert "'quick' is not known" in refusal(lambda: load(checkpoint, runtime="quick"))


def test_several_threads_may_generate_at_once(checkpoint):
    lm = load(checkpoint, "fp32", check=False)
    prompts = [tokens_for(5 + i, seed=i, vocabulary=200).tolist() for i in range(8)]
    alone = [lm.generate(p, "del", max_new_tokens=24).token_ids for p in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda p: lm.generate(p, "del", max_new_tokens=24).token_ids, prompts)
        assert list(together) == alone


def test_a_model_with_odd_sizes_runs_in_pytorch(checkpoint):
    from dynexit.model.native.loading import obstacle

    odd = replace(load_shape(checkpoint), intermediate_size=33)
    cpu = torch.device("cpu")
    assert "33" in obstacle(odd, torch.float32, cpu)
    assert "cuda" in obstacle(odd, torch.float32, torch.device("cuda"))
    assert obstacle(load_shape(checkpoint), torch.float32, cpu) is None


class Emptied(list):
    """Was full when it was looked at, and has been emptied since: by another thread."""

    def __bool__(self):
        return True


def test_a_cache_does_not_count_on_what_another_thread_may_take(eager):
    native = NativeTransformer.packing(eager())
    native.spare = Emptied()
    assert native.new_cache().workspace(1).rows >= 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("streams", [1, 2, 4, 8])
@pytest.mark.parametrize("threads", [1, 3])
def test_memory_is_read_whole_in_every_pattern(eager, isa, streams, threads):
    native = NativeTransformer.packing(eager(), isa=isa, threads=threads)
    units = 64 * 37  # of 256 bytes, which neither threads nor streams share out evenly
    generator = torch.Generator().manual_seed(streams)
    memory = torch.randint(2**31 - 1, (units,), generator=generator, dtype=torch.int32)
    for ahead in (0, 2_048):
        read = native.read_memory(memory, streams, ahead)
        assert read == int(np.bitwise_xor.reduce(memory.numpy()))


def test_memory_is_read_in_known_patterns_only(eager):
    with pytest.raises(DynexitError, match="1, 2, 4 or 8 places, not 3"):
        NativeTransformer.packing(eager()).read_memory(torch.ones(64), streams=3)


@pytest.mark.parametrize("isa", ISAS)
def test_an_instruction_set_says_in_what_it_multiplies(eager, isa):
    dots = isa.endswith("bf16")
    for dtype, weights, expected in (
        (torch.bfloat16, None, torch.bfloat16 if dots else torch.float32),
        (torch.float32, None, torch.float32),
        (torch.bfloat16, "int8", torch.float32),
        (torch.bfloat16, "given", torch.int8),
    ):
        native = NativeTransformer(eager().config, dtype, isa=isa, weights=weights)
        assert native.multiplied == expected
    assert bool(native.runtime.tuned) == (isa != "portable")
