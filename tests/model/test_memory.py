"""Memory of the native runtime: weights once, keys and values, and little else.

Counted is what the process itself holds (RssAnon): pages of a mapped checkpoint are the system's.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dynexit.model.config import ModelConfig
from dynexit.model.saving import save_checkpoint
from dynexit.model.transformer import Transformer

LARGE = ModelConfig("llama", 16_000, 768, 3_072, 12, 12, 4, 64, 8_192, 1e-5)
MEASURE = """
import json, sys, threading, time
from pathlib import Path
import dynexit

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while True:
        seen[0] = max(seen[0], held())
        time.sleep(0.001)

warm, folder, prompt, new = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
dynexit.load(warm, "bf16", check=False).generate([1, 2, 3], "del", max_new_tokens=20)
before, seen = held(), [0]
threading.Thread(target=watch, daemon=True).start()
lm = dynexit.load(folder, "bf16", check=False)
stream = lm.stream([i % 90 for i in range(prompt)], "del", max_new_tokens=new)
for _ in stream:
    pass
config = lm.model.config
position = 4 * config.num_layers * config.num_kv_heads * config.head_dim
print(json.dumps({"held": seen[0] - before, "weights": lm.model.bytes, "position": position,
                  "tokens": len(stream.output.token_ids)}))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="takes Linux's /proc"),
]


def measured(*arguments):
    """What a fresh process held at most, beyond what it held after its imports."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A random checkpoint of 290 MB."""
    with torch.device("meta"):
        model = Transformer(LARGE).to(torch.bfloat16).requires_grad_(False)
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(std=parameter.shape[-1] ** -0.5)
    folder = tmp_path_factory.mktemp("large")
    save_checkpoint(model, folder)
    return folder


@pytest.mark.parametrize("prompt", [16, 2_000])
def test_loading_and_generating_take_little_beside_weights_and_cache(checkpoint, large, prompt):
    found = measured(checkpoint, large, prompt, 64)
    cache = (prompt + found["tokens"]) * found["position"]
    assert found["held"] <= 1.05 * (found["weights"] + cache)
