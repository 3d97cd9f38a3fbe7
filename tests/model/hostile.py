"""Loads checkpoints that somebody has tampered with, each in a forked process of its own.

    python hostile.py SEED COUNT

Writes a line for every one that was neither refused in a sentence nor loaded and generated with,
and at the end how many were refused and how many ran.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import torch
from affine_checkpoints import FEW, quantise
from tiny_checkpoints import random_model

import dynexit
from dynexit.training.vocabulary import byte_level_tokenizer, save_tokenizer

MEMORY, SECONDS = 2**31, 60  # that a child may take beyond what it begins with
TEXT = "The sky was grey and the road was long."
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 3.7, 1e308, -0.0, 1e-320, float("nan"), float("inf")),
    *(2**25, 2**31 - 1, 2**31, 2**32 + 1, 2**63, 2**64 + 5, 10**40, 4096, 131_072),
    *("", "3", "x" * 3000, "../../x", "/etc/passwd", "\ud83d", "\x00", "linear", "llama3"),
    *([], {}, [1], [None], ["a"], {"a": 1}, [[[]]], {"rope_type": "linear", "factor": 1e-300}),
]
RAW = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"hidden_size": ' + b"9" * 5000 + b"}",
    b'{"hidden_size": 1e999999}',
    b"\x00" * 1000,
]
JSONS = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")
INDEX = "model.safetensors.index.json"


def base(folder: Path) -> list[str]:
    """Checkpoints with a tokenizer: in one file, in shards, and quantised in several formats."""
    for name, size in (("single", "1GB"), ("sharded", "20KB")):
        model = random_model(vocab_size=320, eos_token_id=0, intermediate_size=64)
        model.save_pretrained(folder / name, max_shard_size=size)
        tokenizer = byte_level_tokenizer(310, [TEXT] * 9)
        save_tokenizer(tokenizer, folder / name, 128)
    for name, form in FEW.items():
        quantise(folder / "single", folder / name, form, shards=1 + (name == "awq"))
    return ["single", "sharded"] * 3 + [*FEW]


def nodes(value, path=()):
    """Paths to everything in a JSON value; of long lists and objects, the first few."""
    yield path
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys[:12]:
            yield from nodes(value[key], (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def tamper_json(file: Path, draw: random.Random) -> str:
    if draw.random() < 0.12:
        content = draw.choice(RAW)
        file.write_bytes(content)
        return f"{file.name} is {content[:20]!r}"
    value = json.loads(file.read_text())
    told = []
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        path, new = draw.choice(list(nodes(value))[1:] or [()]), draw.choice(VALUES)
        value = replaced(value, path, new)
        told.append(f"{'.'.join(map(str, path))} = {str(new)[:30]!r}")
        if not isinstance(value, dict):
            break
    file.write_text(json.dumps(value))
    return f"{file.name}: {', '.join(told)}"


def tamper_bytes(file: Path, draw: random.Random) -> str:
    content = bytearray(file.read_bytes())
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(min(len(content), draw.choice((8, 200, 4000, len(content)))))
        match draw.randrange(3):
            case 0:
                content[at] = draw.randrange(256)
            case 1:
                del content[at : at + draw.randint(1, 50)]
            case 2:
                content[at:at] = draw.randbytes(draw.randint(1, 20))
    file.write_bytes(content)
    return f"bytes of {file.name}"


def tamper_header(file: Path, draw: random.Random) -> str:
    """A safetensors header that is JSON, and wrong."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    scratch = file.with_suffix(".json")
    scratch.write_bytes(content[8 : 8 + size].strip())
    told = tamper_json(scratch, draw)
    header = scratch.read_bytes()
    scratch.unlink()
    file.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    return f"header of {told}"


def put_in_its_place(file: Path, draw: random.Random) -> str:
    """Something that is no file, or somebody else's."""
    file.unlink()
    kind = draw.choice(("fifo", "zero", "folder", "loop", "nothing", "memory"))
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind != "nothing":
        file.symlink_to({"zero": "/dev/zero", "loop": file.name, "memory": "/proc/self/mem"}[kind])
    return f"{file.name} is {kind}"


def tamper(folder: Path, draw: random.Random) -> str:
    """Do something to a checkpoint; returns what."""
    files = sorted(f.name for f in folder.iterdir())
    weights = [name for name in files if name.endswith(".safetensors")]
    texts = [name for name in (*JSONS, INDEX) if name in files]
    match draw.choice("jjjjjjcchhbbp"):
        case "j":
            return tamper_json(folder / draw.choice(texts), draw)
        case "c":
            return tamper_json(folder / "config.json", draw)
        case "h":
            return tamper_header(folder / draw.choice(weights), draw)
        case "b":
            return tamper_bytes(folder / draw.choice([*weights, *texts]), draw)
    return put_in_its_place(folder / draw.choice([*weights, *texts]), draw)


def attempt(folder: Path) -> str:
    """What becomes of it: "refused", "ran", or what went wrong."""
    try:
        lm = dynexit.load(folder, check=False)
        assert len(lm.sample.layers) == lm.num_layers - 1
        ids = lm.generate([1, 2, 3], "layerskip", max_new_tokens=4).token_ids
        assert len(ids) <= 4
        lm.generate(TEXT, "vanilla", max_new_tokens=4)
    except dynexit.DynexitError as error:
        sentence = str(error)
        if "\n" in sentence or not 0 < len(sentence) < 1500:
            return f"no sentence: {sentence[:300]!r}"
        return "refused"
    except BaseException:
        return traceback.format_exc(limit=-2).strip().replace("\n", " | ")
    return "ran"


def in_a_child(folder: Path) -> str:
    """The same, with a limit on memory and time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY,) * 2)
        signal.alarm(SECONDS)
        os.write(writing, attempt(folder).encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        said = told.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or f"ended with {code}"


def main(seed: int, count: int) -> None:
    torch.set_num_threads(1)
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        names = base(Path(place))
        for number in range(count):
            draw, folder = random.Random(f"{seed} {number}"), Path(place) / "tampered"
            shutil.copytree(Path(place) / draw.choice(names), folder)
            done = tamper(folder, draw)
            found = in_a_child(folder)
            shutil.rmtree(folder)
            tally[found if found in ("refused", "ran") else "wrong"] += 1
            if found not in ("refused", "ran"):
                sys.stdout.write(f"{number}: {done}: {found}\n")
    sys.stdout.write(json.dumps(tally))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
