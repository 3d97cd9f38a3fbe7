"""Matrices that stay as GPTQ, AWQ and compressed-tensors hold them: unpacked to the bit, multiplied
as int8 rounds.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from affine_checkpoints import FEW, Form, quantise
from native_blocks import check_product, native_of, near
from safetensors.torch import load_file
from tiny_checkpoints import forward, random_model, read, tokens_for

from dynexit.model.affine.values import BLOCKS, Values
from dynexit.model.interface import Span
from dynexit.model.loading import load_shape
from dynexit.model.native.binding import runtimes
from dynexit.model.native.blocks import load_blocks
from dynexit.model.runtimes import load_into
from dynexit.model.transformer import Transformer

ISAS = sorted(runtimes())
CPU = torch.device("cpu")
BROAD = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "head_dim": 64}
WIDE = {"hidden_size": 64, "intermediate_size": 96}
EACH_ISA = pytest.mark.parametrize("isa", ISAS)
KINDS = [(bits, size) for bits in (4, 8) for size in BLOCKS]
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-bit-{kind[1]}")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of a model whose outputs fill no vector."""
    folder = tmp_path_factory.mktemp("model")
    shape = {**BROAD, "hidden_size": 512, "vocab_size": 109}
    random_model(**shape).save_pretrained(folder)
    return load_shape(folder)


def head_of(config, kind, groups_of=1):
    """A head with random values, zero points and scales; blocks share these in so many."""
    (bits, size), draw = kind, torch.Generator().manual_seed(0)
    shape = (config.vocab_size, config.hidden_size)
    groups = (config.vocab_size, config.hidden_size // size // groups_of)
    values, zeros = (
        torch.randint(2**bits, each, generator=draw, dtype=torch.uint8) for each in (shape, groups)
    )
    values[0, :4], zeros[:4] = torch.tensor([0, 1, 2**bits - 2, 2**bits - 1]), 0
    zeros[4:8] = 2**bits - 1
    scales = (0.01 * torch.randn(groups, generator=draw)).half()
    return Values(bits, values, zeros, scales)


@EACH_ISA
@EACH_KIND
@pytest.mark.parametrize("groups_of", [1, 4])
def test_unpacked_values_are_exact(config, isa, kind, groups_of):
    values = head_of(config, kind, groups_of)
    if groups_of == 1:
        assert values.blocks().type == 1000 * kind[0] + kind[1]
    native, _ = native_of(config, isa, values.blocks())
    assert torch.equal(native.embed(range(109)), values.floats())


@EACH_ISA
@EACH_KIND
def test_a_product_is_that_of_int8_inputs(config, isa, kind):
    values = head_of(config, kind)
    check_product(config, isa, values.blocks(), values.floats().numpy())


@pytest.fixture
def write(tmp_path):
    """Writes a random model's quantised checkpoint; returns its folder and its weights."""

    def write(form, family="llama", variant="gqa", which=None, shape=WIDE, shards=1):
        plain, folder = tmp_path / "plain", tmp_path / str(form)
        random_model(family, variant, **shape).save_pretrained(plain)
        options = {"which": which} if which else {}
        return folder, quantise(plain, folder, form, shards, **options)

    return write


def load(folder, isa=None, dtype=torch.bfloat16):
    return load_blocks(folder, load_shape(folder), dtype, isa)


@EACH_ISA
@EACH_KIND
def test_a_row_is_the_same_to_the_bit_whatever_runs_beside_it(write, isa, kind):
    folder, _ = write(Form("gptq", *kind, symmetric=False), shape=BROAD)
    native, tokens = load(folder, isa), tokens_for(40)
    whole = forward(native, tokens)
    for lengths in ([1] * 40, [3, 1, 7, 12, 2, 15], [26, 14]):
        cache, ends = native.new_cache(), [0, *np.cumsum(lengths).tolist()]
        parts = [forward(native, tokens[a:b], cache, a) for a, b in pairwise(ends)]
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
@pytest.mark.parametrize(
    ("family", "variant"),
    [("llama", "gqa"), ("llama", "tied"), ("qwen2", "untied"), ("qwen3", "tied")],
)
def test_a_model_says_what_its_dequantised_weights_say(write, form, family, variant):
    folder, _ = write(form, family, variant)
    ours, theirs = load(folder), read(folder)
    assert near(forward(ours, tokens_for(30)), forward(theirs, tokens_for(30)))


@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
def test_bytes_are_those_of_the_file(write, form):
    """But for the indices of groups, which say nothing."""
    folder, expected = write(replace(form, group=128), shape=BROAD)
    stored = load_file(folder / "model.safetensors")
    matrices = [t for name, t in stored.items() if t.ndim > 1 and "norm" not in name]
    held = sum(tensor.nbytes for tensor in matrices)
    native = load(folder)
    taken = native.layer_bytes + native.head_bytes + native.embedding_bytes
    assert held <= 1.001 * taken <= 1.03 * held
    assert sum(4 * t.numel() for t in expected.values() if t.ndim > 1) > 2 * held


def test_matrices_that_are_not_quantised_take_the_dtype_of_other_checkpoints(write):
    """A whole one stays bf16; one beside quantised ones in ours is fp32 with them."""
    form = FEW["gptq"]
    folder, _ = write(form, which=lambda name: name.endswith(("q_proj.weight", "up_proj.weight")))
    with pytest.warns(UserWarning, match="matrices of F16, GPTQ 4-bit g32 are in fp32"):
        ours = load(folder)
    assert near(forward(ours, tokens_for(30)), forward(read(folder), tokens_for(30)))


@pytest.mark.parametrize(
    "form",
    [
        Form("gptq", 4, 16),  # no whole block of 32
        Form("compressed-tensors", 4, 32, dtype=torch.float32),  # scales that fp16 does not have
        Form("compressed-tensors", 8, -1, symmetric=False, dtype=torch.float32),
    ],
    ids=str,
)
def test_what_has_no_blocks_is_held_in_numbers_and_told(write, form):
    folder, _ = write(form)
    with pytest.warns(UserWarning, match="there is no kernel for them as they are"):
        ours = load(folder, dtype=torch.float32)
    theirs = forward(read(folder), tokens_for(30))
    torch.testing.assert_close(forward(ours, tokens_for(30)), theirs, atol=1e-4, rtol=1e-4)


def test_small_bf16_scales_are_exact_or_none():
    """fp16 has all of bf16's numbers from 2^-17 on, some below, and none above 65504."""
    values, zeros = torch.ones(32, 32, dtype=torch.uint8), torch.zeros(32, 1, dtype=torch.uint8)
    for scale, held in ((2.0**-17 * 1.9921875, True), (2.0**-19 * 1.9921875, False), (1e5, False)):
        scales = torch.full((32, 1), scale, dtype=torch.bfloat16)
        blocks = Values(4, values, zeros, scales).blocks()
        assert (blocks is not None) == held


def test_a_given_dtype_dequantises_and_says_so(write):
    folder, _ = write(FEW["awq"])
    shape = load_shape(folder)
    with pytest.warns(UserWarning, match="AWQ 4-bit g32, F16.*runs dequantised to float32 here"):
        given = load_into("native", folder, shape, "fp32", [CPU])
    with pytest.warns(UserWarning, match="runs dequantised to"):
        assert isinstance(load_into("eager", folder, shape, None, [CPU]), Transformer)
    assert load_into(None, folder, shape, None, [CPU]).runtime_name.endswith(", F16")
    eager = forward(read(folder), tokens_for(20))
    torch.testing.assert_close(forward(given, tokens_for(20)), eager, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
def test_an_int8_copy_for_drafts(write, form):
    folder, _ = write(form)
    native = load(folder)
    copy = native.copy_for_drafts(2, 64)
    tokens = tokens_for(10)
    kept, states = [], []
    forward(native, tokens, states=states)
    rows = copy.rows([Span(native.new_cache(), 0, 10)])
    copy.run_layers(copy.embed(tokens), rows, 0, 2, kept)
    assert near(kept[-1], states[1])
