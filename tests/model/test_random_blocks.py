"""Random blocks in the place of numbers: as large, finite, and in llama.cpp's mix."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf_files import WIDE
from tiny_checkpoints import forward, random_model, read, refusal, tokens_for

from dynexit.model.gguf import writing
from dynexit.model.gguf.header import read_header
from dynexit.random_blocks import Mix, RandomBlocks

BROAD = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8, "head_dim": 64}


@pytest.mark.parametrize("kind", [Type.Q4_K, Type.Q6_K], ids=lambda kind: kind.name)
def test_blocks_are_as_large_as_the_numbers(kind):
    values = torch.randn(64, 2048) * torch.logspace(-4, 1, 64)[:, None]
    found = gguf.dequantize(RandomBlocks(0)(values, kind), kind)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.std(1), values.std(1).numpy(), rtol=0.05)
    assert (abs(found.mean(1)) < 0.1 * found.std(1)).all()
    assert len(np.unique(found[0])) == {Type.Q4_K: 16, Type.Q6_K: 65}[kind]


def test_a_mix_is_a_model_that_runs(tmp_path):
    random_model(**BROAD).save_pretrained(tmp_path / "folder")
    source, file = writing.checkpoint(tmp_path / "folder"), tmp_path / "m.gguf"
    writing.write(source, file, Mix(8), RandomBlocks(0))
    header = read_header(file)
    types = {name: tensor.type for name, tensor in header.tensors.items()}
    assert header.metadata["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_K_M
    assert types["output.weight"] is Type.Q6_K
    assert types["token_embd.weight"] is types["blk.0.attn_q.weight"] is Type.Q4_K
    for name in ("attn_v", "ffn_down"):
        more = [i for i in range(8) if types[f"blk.{i}.{name}.weight"] is Type.Q6_K]
        assert more == [0, 3, 6, 7]
    assert forward(read(file), tokens_for(9)).isfinite().all()


def test_rows_of_half_a_block_are_refused(tmp_path):
    random_model(**WIDE).save_pretrained(tmp_path / "folder")
    source = writing.checkpoint(tmp_path / "folder")
    sentence = refusal(lambda: writing.write(source, tmp_path / "m.gguf", Mix(4), RandomBlocks(0)))
    assert "not a multiple of Q4_K's block size 256" in sentence
