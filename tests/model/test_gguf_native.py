"""Matrices that stay in a GGUF file's blocks: unpacked to the bit, multiplied as int8 rounds."""

import sys
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf_blocks import random_blocks
from gguf_files import WIDE, write_gguf
from native_blocks import check_product, native_of, near
from tiny_checkpoints import forward, read, refusal, tokens_for

from dynexit.model.gguf.blocks import QUANTISED
from dynexit.model.gguf.weights import open_weights
from dynexit.model.interface import Span
from dynexit.model.loading import load_shape
from dynexit.model.native.binding import runtimes
from dynexit.model.native.blocks import load_blocks
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.runtimes import load_into
from dynexit.model.stored import Blocks
from dynexit.model.transformer import Transformer

ISAS = sorted(runtimes())
CPU = torch.device("cpu")
BROAD = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "head_dim": 64}
TYPES = pytest.mark.parametrize("kind", QUANTISED, ids=lambda kind: kind.name)
EACH_ISA = pytest.mark.parametrize("isa", ISAS)


def load(file, isa=None):
    return load_blocks(file, load_shape(file), torch.float32, isa)


def head_of(config, kind):
    """A head in blocks of a type, and its values."""
    rows = random_blocks((config.vocab_size, config.hidden_size), kind, seed=0)
    return Blocks(rows, config.hidden_size, kind), gguf.dequantize(rows, kind)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of a model whose rows hold blocks of 256, and whose outputs fill no vector."""
    file = tmp_path_factory.mktemp("gguf") / "m.gguf"
    write_gguf(file, **{**BROAD, "hidden_size": 512}, vocab_size=109)
    return load_shape(file)


@EACH_ISA
@TYPES
def test_unpacked_values_are_those_of_the_gguf_package_to_the_bit(config, isa, kind):
    blocks, values = head_of(config, kind)
    native, _ = native_of(config, isa, blocks)
    assert np.array_equal(native.embed(range(109)).numpy(), values)


@EACH_ISA
@TYPES
def test_a_product_is_that_of_int8_inputs(config, isa, kind):
    check_product(config, isa, *head_of(config, kind))


@EACH_ISA
@TYPES
def test_a_row_is_the_same_to_the_bit_whatever_runs_beside_it(tmp_path, isa, kind):
    write_gguf(tmp_path / "m.gguf", kind=kind, **BROAD)
    native, tokens = load(tmp_path / "m.gguf", isa), tokens_for(40)
    whole = forward(native, tokens)
    for lengths in ([1] * 40, [3, 1, 7, 12, 2, 15], [26, 14]):
        cache, ends = native.new_cache(), [0, *np.cumsum(lengths).tolist()]
        parts = [forward(native, tokens[a:b], cache, a) for a, b in pairwise(ends)]
        assert torch.equal(torch.cat(parts), whole)


@EACH_ISA
@pytest.mark.parametrize(
    ("family", "variant"),
    [("llama", "gqa"), ("llama", "tied"), ("qwen2", "untied"), ("qwen3", "tied")],
)
@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q5_1])
def test_a_model_says_what_its_dequantised_weights_say(tmp_path, isa, family, variant, kind):
    write_gguf(tmp_path / "m.gguf", family, variant, kind, **WIDE)
    ours, theirs = load(tmp_path / "m.gguf", isa), read(tmp_path / "m.gguf")
    assert near(forward(ours, tokens_for(30)), forward(theirs, tokens_for(30)))


@EACH_ISA
def test_every_fp16_number_stays_what_it_is(config, isa):
    """Subnormal and infinite ones, and those that are none, too."""
    numbers = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    for part in (numbers[: 109 * 512], numbers[-109 * 512 :]):
        native = NativeTransformer(config, torch.float32, isa=isa, weights="given")
        head = torch.nn.Linear(512, 109, bias=False, dtype=torch.float16)
        head.weight.data = part.view(109, 512)
        native.pack("head", head)
        held, given = native.embed(range(109)), part.view(109, 512).float()
        assert torch.equal(held.isnan(), given.isnan())
        assert torch.equal(held[~held.isnan()], given[~given.isnan()])


@EACH_ISA
def test_fp16_matrices_are_read_as_the_file_has_them(tmp_path, isa):
    write_gguf(tmp_path / "m.gguf", kind=Type.F16, **BROAD)
    ours, theirs, tokens = load(tmp_path / "m.gguf", isa), read(tmp_path / "m.gguf"), tokens_for(30)
    said = forward(ours, tokens)
    torch.testing.assert_close(said, forward(theirs, tokens), atol=1e-4, rtol=1e-4)
    assert torch.equal(torch.cat([said[:0], forward(ours, tokens[:7]), said[7:]]), said)
    weights = open_weights(tmp_path / "m.gguf")
    kept = [told.bytes for told in map(weights.stored, weights.keys()) if told.type == "F16"]
    assert ours.layer_bytes + ours.head_bytes + ours.embedding_bytes == sum(kept)


def test_types_are_mixed_as_files_mix_them(tmp_path):
    """A matrix of ours may join several types; one that blocks do not fit is held in numbers."""
    kinds = {"attn_v": Type.Q6_K, "ffn_up": Type.Q4_K, "attn_output": Type.F16, "output": Type.BF16}
    write_gguf(tmp_path / "m.gguf", kind=Type.Q8_0, kinds={**kinds, "attn_q": Type.F16}, **BROAD)
    with pytest.warns(UserWarning, match="6 matrices of F16, Q6_K, Q8_0 are in fp32"):
        ours = load(tmp_path / "m.gguf")
    theirs = read(tmp_path / "m.gguf")
    assert near(forward(ours, tokens_for(30)), forward(theirs, tokens_for(30)))


def test_types_that_share_a_group_of_outputs(tmp_path):
    """Eight rows of keys lie in a group with queries: these matrices are held in numbers."""
    kinds = {"attn_q": Type.Q4_0, "attn_k": Type.Q8_0, "attn_v": Type.Q5_0}
    shape = {**WIDE, "head_dim": 8, "num_key_value_heads": 1}
    write_gguf(tmp_path / "m.gguf", kind=Type.F32, kinds=kinds, **shape)
    with pytest.warns(UserWarning, match="12 matrices of Q4_0, Q5_0, Q8_0 are in fp32"):
        ours = load(tmp_path / "m.gguf")
    theirs = read(tmp_path / "m.gguf")
    torch.testing.assert_close(
        forward(ours, tokens_for(30)), forward(theirs, tokens_for(30)), atol=1e-4, rtol=1e-4
    )


@TYPES
def test_bytes_are_those_of_the_file(tmp_path, kind):
    write_gguf(tmp_path / "m.gguf", kind=kind, vocab_size=128, **BROAD)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    held = sum(t.n_bytes for t in reader.tensors if t.tensor_type == kind)
    assert held <= load(tmp_path / "m.gguf").bytes <= 1.03 * held


def test_a_given_dtype_dequantises_and_says_so(tmp_path):
    file = tmp_path / "m.gguf"
    write_gguf(file, kind=Type.Q4_0, **WIDE)
    shape = load_shape(file)
    with pytest.warns(UserWarning, match="Q4_0.*runs dequantised to float32 here: 1 MB of weights"):
        given = load_into("native", file, shape, "fp32", [CPU])
    with pytest.warns(UserWarning, match="runs dequantised to"):
        assert isinstance(load_into("eager", file, shape, None, [CPU]), Transformer)
    eager = forward(read(file), tokens_for(20))
    torch.testing.assert_close(forward(given, tokens_for(20)), eager, atol=1e-4, rtol=1e-4)


def test_inputs_that_are_no_numbers_stay_none(config):
    native, _ = native_of(config, None, head_of(config, Type.Q4_0)[0])
    hidden = torch.ones(2, 512)
    hidden[1, 77] = torch.nan
    logits = native.unembed(hidden)
    assert logits[0].isfinite().all()
    assert logits[1].isnan().all()


def test_inputs_of_zero_give_zero(config):
    native, _ = native_of(config, None, head_of(config, Type.Q4_1)[0])
    assert torch.equal(native.unembed(torch.zeros(1, 512)), torch.zeros(1, 109))


def test_an_int8_copy_for_drafts(tmp_path):
    write_gguf(tmp_path / "m.gguf", kind=Type.Q4_1, **WIDE)
    native = load(tmp_path / "m.gguf")
    copy = native.copy_for_drafts(2, 64)
    tokens = tokens_for(10)
    kept, states = [], []
    forward(native, tokens, states=states)
    rows = copy.rows([Span(native.new_cache(), 0, 10)])
    copy.run_layers(copy.embed(tokens), rows, 0, 2, kept)
    assert near(kept[-1], states[1])


@pytest.mark.parametrize(
    ("kinds", "inputs", "rows", "reason"),
    [
        ((99,), 512, 109, "blocks of type 99 have no kernel"),
        ((Type.Q4_K,), 96, 109, "blocks of type 12 do not fill rows of 96 inputs"),
        ((Type.Q4_0, Type.Q8_0), 512, 40, "parts of several types share a group"),
        ((Type.Q4_0,), 256, 109, "matrix 4 has 109 outputs of 256 inputs"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(config, kinds, inputs, rows, reason):
    native = NativeTransformer(config, torch.float32, weights="given")
    blocks = [Blocks(np.zeros((rows, 2048), np.uint8), inputs, kind) for kind in kinds]
    assert reason in refusal(lambda: native.pack_blocks("head", blocks))


@pytest.mark.skipif(sys.platform != "linux", reason="says of a mapping what is in memory")
def test_pages_of_a_file_are_let_go_once_they_are_packed(tmp_path):
    file = tmp_path / "m.gguf"
    write_gguf(file, kind=Type.Q8_0, **{**BROAD, "intermediate_size": 4096})
    config, weights = load_shape(file), open_weights(file)
    blocks = weights.blocks("model.layers.0.mlp.down_proj.weight")
    before = blocks.rows.copy()
    assert resident(file) >= blocks.rows.nbytes
    native = NativeTransformer(config, torch.float32, weights="given")
    native.pack_blocks("layers.0.down", [blocks])
    assert resident(file) <= 2 * AROUND < blocks.rows.nbytes / 8
    assert np.array_equal(blocks.rows, before)


AROUND = 2**16  # bytes at either end that Linux maps with a page


def resident(file):
    """Bytes of a file's mappings that are in memory."""
    found, here = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        here = line.endswith(str(file)) if "-" in line.split()[0] else here
        found += int(line.split()[1]) * 1024 if here and line.startswith("Rss:") else 0
    return found
