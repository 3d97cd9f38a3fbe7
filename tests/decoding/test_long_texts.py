"""What a long text holds beside keys and values: a known number of bytes a token, and no more.

Kept are its tokens, its chunks and its rounds' numbers, and what a controller looks tokens up in.
"""

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch
from tiny import random_model

import dynexit
from dynexit.model.config import ModelConfig
from dynexit.model.saving import save_checkpoint

OBJECTS = 1_200  # bytes a token of Python's objects
RESIDENT = 2_400  # of the process: objects, and what its allocators keep between them
METHODS = ("vanilla", "layerskip", "draft-verify", "del", "auto")
LONG = ModelConfig("llama", 256, 64, 128, 4, 4, 2, 16, 10_240, 1e-5)
MEASURE = """
import itertools, json, sys
from pathlib import Path
import dynexit

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

folder, method, new, texts = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
lm = dynexit.load(folder or None, "bf16", check=False)

def marks(seed):
    stream = lm.stream([1, 2, 3], method, max_new_tokens=new, temperature=1.0, seed=seed)
    list(itertools.islice(stream, 500))
    early = held()
    for _ in stream:
        pass
    return early, held(), len(stream.output.token_ids)

found = [marks(seed) for seed in range(texts)]
config = lm.model.config
position = 4 * config.num_layers * config.num_kv_heads * config.head_dim
print(json.dumps({"marks": found, "position": position}))
"""


@pytest.fixture(scope="module")
def long_model():
    return random_model(LONG, dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def long_folder(long_model, tmp_path_factory):
    """A checkpoint with room for ten thousand tokens."""
    folder = tmp_path_factory.mktemp("long") / "model"
    save_checkpoint(long_model, folder)
    return folder


def measured(*arguments):
    """Bytes held by a fresh process after 500 tokens and at the end, text by text.

    glibc gives large pieces back at once, as it does not where it has moved its own threshold.
    """
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, *map(str, arguments)]
    own = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**18)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=own)
    return json.loads(done.stdout)


def objects():
    """Bytes of Python's objects."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("method", METHODS)
def test_a_text_keeps_few_bytes_a_token(long_folder, method):
    lm = dynexit.load(long_folder, "bf16", check=False, runtime="native")
    lm.generate([1, 2, 3], method, max_new_tokens=50)
    stream = lm.stream([1, 2, 3], method, max_new_tokens=900, temperature=1.0, seed=1)
    for _ in range(300):
        next(stream)
    early = objects()
    rest = sum(len(chunk.token_ids) for chunk in stream)
    assert rest > 500
    assert objects() - early < OBJECTS * rest


@pytest.mark.usefixtures("traced")
def test_texts_that_have_ended_leave_nothing(long_folder):
    lm = dynexit.load(long_folder, "bf16", check=False, runtime="native")
    held = []
    for _ in range(3):
        for method in METHODS:
            lm.generate([1, 2, 3], method, max_new_tokens=100, temperature=1.0, seed=1)
        held.append(objects())
    assert held[2] - held[1] < 20_000  # a text of this length holds three times as much


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="takes Linux's /proc")
@pytest.mark.parametrize("method", METHODS)
def test_ten_thousand_tokens_hold_their_cache_and_little_else(long_folder, method):
    found = measured(long_folder, method, 10_000, 1)
    ((early, late, tokens),) = found["marks"]
    assert tokens == 10_000
    assert late - early < (found["position"] + RESIDENT) * (tokens - 500) + 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="takes Linux's /proc")
@pytest.mark.parametrize("method", ["vanilla", "auto", "del"])
def test_ten_thousand_tokens_over_many_texts_hold_no_more_than_one(method):
    marks = measured("", method, 1_000, 13)["marks"]
    assert sum(tokens for *_, tokens in marks[3:]) > 3_000
    ends = [late for _, late, _ in marks]
    assert ends[-1] - max(ends[:3]) < 4 * 2**20
