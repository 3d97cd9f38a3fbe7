"""Damaged and hostile GGUF files cost one sentence, and no memory that a header claims."""

import random
import resource
import struct
from contextlib import suppress

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Kind
from gguf.gguf_writer import GGUFValue
from gguf_files import WIDE, write_gguf, write_model
from tiny_checkpoints import random_model, refusal

from dynexit.errors import DynexitError
from dynexit.model.gguf.header import read_header
from dynexit.model.gguf.shape import NUMBERS, SIZES
from dynexit.model.loading import load_eos, load_model, load_shape
from dynexit.model.native.blocks import load_blocks

STRING, ARRAY, UINT32, UINT8 = 8, 9, 4, 0


def text(value):
    return struct.pack("<Q", len(value)) + value


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def info(name=b"t", shape=(4,), kind=0, offset=0, dimensions=None):
    count = len(shape) if dimensions is None else dimensions
    sizes = struct.pack(f"<I{len(shape)}Q", count, *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def header(*entries, tensors=(), version=3, data=64, counts=None):
    listed, described = counts or (len(tensors), len(entries))
    start = b"GGUF" + struct.pack("<IQQ", version, listed, described)
    whole = start + b"".join(entries) + b"".join(tensors)
    return whole + bytes(-len(whole) % 32) + bytes(data)


HUGE = 2**63 - 1
CASES = {
    "empty": (b"", "is empty"),
    "another kind of file": (b"PK\3\4" + bytes(99), "does not begin with 'GGUF'"),
    "cut within its counts": (b"GGUF\3\0\0\0\1", "ends within its header"),
    "an old version": (header(version=1), "GGUF version 1"),
    "big-endian": (header(version=3 << 24), "big-endian"),
    "absurd tensors": (header(counts=(HUGE, 0)), f"claims {HUGE} tensors"),
    "absurd entries": (header(counts=(0, HUGE)), f"claims {HUGE} metadata entries"),
    "a key that never ends": (
        header(struct.pack("<Q", HUGE) + b"key"),
        "a metadata key has 9223372036854775807 bytes",
    ),
    "a value that never ends": (
        header(entry(b"a", STRING, struct.pack("<Q", HUGE))),
        "ends within the value of 'a'",
    ),
    "a type that is none": (header(entry(b"a", 77, b"")), "'a' has type 77"),
    "an array that never ends": (
        header(entry(b"a", ARRAY, struct.pack("<IQ", UINT8, HUGE))),
        f"claims {HUGE} numbers in 'a'",
    ),
    "strings that never end": (
        header(entry(b"a", ARRAY, struct.pack("<IQ", STRING, HUGE))),
        f"claims {HUGE} strings in 'a'",
    ),
    "strings that end too late": (
        header(
            entry(b"a", ARRAY, struct.pack("<IQ", STRING, 2) + text(b"b") + text(bytes(999))[:8])
        ),
        "ends within a string in 'a'",
    ),
    "strings that are cut off": (
        header(entry(b"a", ARRAY, struct.pack("<IQ", STRING, 8) + text(bytes(56))), data=0),
        "ends within a string in 'a'",
    ),
    "an array of arrays": (
        header(entry(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1))),
        "'a' is an array of arrays",
    ),
    "a key twice": (
        header(*2 * [entry(b"a", UINT32, bytes(4))]),
        "metadata key 'a' stands there twice",
    ),
    "a key that is no text": (header(entry(b"\xff", UINT32, bytes(4))), "is not UTF-8"),
    "a tensor twice": (header(tensors=[info(), info(offset=32)]), "'t' stands there twice"),
    "no dimensions": (header(tensors=[info(shape=())]), "'t' has 0 dimensions"),
    "absurd dimensions": (
        header(tensors=[info(dimensions=2**32 - 1)]),
        "'t' has 4294967295 dimensions",
    ),
    "a dimension of 0": (header(tensors=[info(shape=(0, 4))]), "'t' of F32 has shape [4, 0]"),
    "sizes that overflow": (
        header(tensors=[info(shape=(2**40, 2**40))]),
        "'t' ends past the file's",
    ),
    "half a block": (header(tensors=[info(shape=(40,), kind=2)]), "'t' of Q4_0 has shape [40]"),
    "a type that is not known": (header(tensors=[info(kind=999)]), "'t' has the unknown type 999"),
    "past the end": (header(tensors=[info(offset=64)]), "'t' ends past the file's"),
    "an offset that overflows": (
        header(tensors=[info(offset=2**64 - 32)]),
        "'t' ends past the file's",
    ),
    "unaligned": (header(tensors=[info(offset=4)]), "'t' is not aligned to 32 bytes"),
    "overlapping": (
        header(tensors=[info(shape=(16,)), info(b"u", shape=(4,), offset=32)]),
        "tensors 't' and 'u' overlap",
    ),
    "an alignment of 0": (
        header(entry(b"general.alignment", UINT32, bytes(4))),
        "general.alignment is 0",
    ),
    "an alignment of 3": (
        header(entry(b"general.alignment", UINT32, struct.pack("<I", 3))),
        "general.alignment is 3",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_damage_is_told(tmp_path, case):
    content, reason = CASES[case]
    (tmp_path / "m.gguf").write_bytes(content)
    message = refusal(lambda: read_header(tmp_path / "m.gguf"))
    assert reason in message
    assert str(tmp_path / "m.gguf") in message


def test_a_header_alone_is_no_model(tmp_path):
    (tmp_path / "m.gguf").write_bytes(header())
    assert "holds a None model, which is not supported" in refusal(
        lambda: load_shape(tmp_path / "m.gguf")
    )


def test_layers_that_are_not_there_take_no_memory(tmp_path):
    write_gguf(tmp_path / "m.gguf")
    key = b"llama.block_count" + struct.pack("<I", UINT32)
    whole = (tmp_path / "m.gguf").read_bytes()
    claim = whole.replace(key + struct.pack("<I", 4), key + struct.pack("<I", 10**9))
    (tmp_path / "m.gguf").write_bytes(claim)
    assert refusal(lambda: load_shape(tmp_path / "m.gguf")).endswith(
        "claims 1000000000 layers but holds 4."
    )


VALUES = (
    *((Kind.STRING, "x"), (Kind.UINT32, 0), (Kind.UINT32, 3), (Kind.INT32, -1), (Kind.BOOL, True)),
    *((Kind.UINT64, 2**63), (Kind.FLOAT32, float("nan")), (Kind.ARRAY, [1, 2])),
)
KEYS = (
    *("general.architecture", "general.alignment", "split.count", "tokenizer.ggml.model"),
    *(f"llama.{key}" for key in (*SIZES.values(), *NUMBERS.values())),
    *("llama.expert_count", "llama.rope.scaling.type", "llama.rope.scaling.factor"),
    *("llama.rope.dimension_count", "tokenizer.ggml.eos_token_id"),
)


@pytest.mark.parametrize("key", KEYS)
def test_metadata_of_any_kind_is_used_or_refused(tmp_path, key):
    model, file = random_model("llama", "gqa", **WIDE), tmp_path / "m.gguf"
    for kind, value in VALUES:

        def replaced(writer, stored=GGUFValue(value, kind)):  # noqa: B008
            writer.kv_data[0][key] = stored

        write_model(file, model, metadata=replaced)
        with suppress(DynexitError):
            shape = load_shape(file)
            load_eos(file)
            load_model(file, shape, torch.float32, torch.device("cpu"))
            load_blocks(file, shape, torch.float32)
        file.unlink()


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A file with some bytes of its header changed, cut out, doubled or made large."""
    changed = bytearray(whole)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(min(len(changed), 6000))
        match draw.randrange(4):
            case 0:
                changed[at] = draw.randrange(256)
            case 1:
                changed[at : at + 8] = struct.pack("<Q", draw.choice((HUGE, 2**64 - 1, 2**40, 0)))
            case 2:
                del changed[at : at + draw.randint(1, 64)]
            case 3:
                changed = changed[: draw.randint(at, len(changed))]
        if not changed:
            break
    return bytes(changed)


def attack(folder, count):
    """Returns how many of `count` damaged files were refused."""
    write_gguf(folder / "whole.gguf", kind=Type.Q4_0, kinds={"attn_v": Type.Q8_0}, **WIDE)
    whole, file, refused = (folder / "whole.gguf").read_bytes(), folder / "m.gguf", 0
    for seed in range(count):
        file.write_bytes(damaged(whole, random.Random(seed)))
        try:
            for tensor in read_header(file).tensors.values():
                assert np.asarray(tensor.read()).nbytes == tensor.bytes
            load_model(file, load_shape(file), torch.float32, torch.device("cpu"))
            load_blocks(file, load_shape(file), torch.float32)
        except DynexitError as error:
            refused += "\n" not in str(error)
    return refused


def test_damaged_files_are_refused_or_read(tmp_path):
    assert attack(tmp_path, 150) > 75


@pytest.mark.slow
def test_thousands_of_damaged_files_take_no_memory(tmp_path):
    attack(tmp_path, 50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert attack(tmp_path, 4000) > 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
