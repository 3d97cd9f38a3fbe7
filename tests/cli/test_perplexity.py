"""`dynexit perplexity` against transformers' own loss, in the windows of llama.cpp's tool."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import dynexit as package
from dynexit.model.places import BUNDLED
from dynexit.perplexity import measure

TEXT = "Tom has 3 apples and 12 = 3 * 4 pears. " * 12


def expected(window):
    """Windows, tokens and nats of the second halves, by transformers."""
    model = AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(BUNDLED)(TEXT, return_tensors="pt").input_ids[0]
    windows, nats = ids.unfold(0, window, window), 0.0
    with torch.inference_mode():
        for own in windows:
            logits = model(own[None]).logits[0, window // 2 : -1]
            loss = torch.nn.functional.cross_entropy(
                logits, own[window // 2 + 1 :], reduction="sum"
            )
            nats += float(loss)
    return len(windows), len(windows) * (window - window // 2 - 1), nats


def test_windows_are_those_of_llama_cpp(tmp_path, dynexit):
    (tmp_path / "text.txt").write_text(TEXT)
    options = ("--dtype", "fp32", "--device", "cpu", "--window", 64, "--json")
    code, out, _ = dynexit("perplexity", BUNDLED, tmp_path / "text.txt", *options)
    found, (windows, tokens, nats) = json.loads(out), expected(64)
    assert (code, found["windows"], found["tokens"]) == (0, windows, tokens)
    assert found["nats"] == pytest.approx(nats, rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "window", "reason"),
    [
        ("short", 64, "too few for a window of 64"),
        (TEXT, 3, "a window of 3 tokens is not possible: use 4 to 2048"),
        (TEXT, 4096, "a window of 4096 tokens is not possible"),
    ],
)
def test_what_cannot_be_read_is_told(text, window, reason):
    lm = package.load(device="cpu", check=False)
    with pytest.raises(package.DynexitError, match=reason):
        measure(lm, text, window)
