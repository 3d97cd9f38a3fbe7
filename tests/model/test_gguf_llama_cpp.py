"""llama.cpp loads what we write, splits texts as we do, and continues them as we do."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gguf_files import WIDE
from test_gguf_vocabulary import TEXTS, byte_level, sentencepiece
from test_gguf_writing import saved, write
from tiny_checkpoints import VARIANTS

import dynexit as package
from dynexit.model.interface import Span
from dynexit.model.names import WRITTEN
from dynexit.model.native.binding import runtimes
from dynexit.model.places import BUNDLED

PROMPTS = [
    "Question: A farmer has 12 hens and each lays 5 eggs a week. How many eggs a week?\nAnswer:",
    "German: Guten Morgen!\nEnglish:",
    "Once upon a time",
    "def mean(numbers):\n    ",
]
TOKENS = 48
EXACT = ("f32", "f16")  # in the others, llama.cpp rounds hidden states in its own places
NEAR = 0.05  # so that it may take a token whose logit is this much below the best one

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="llama-cpp-python is not installed: pip install 'dynexit[llama-cpp]'",
)


def by_llama_cpp(file, prompts, count):
    """(tokens of a prompt, those that follow) of each."""
    script = Path(__file__).with_name("llama_cpp_greedy.py")
    command = [sys.executable, str(script), str(file), str(count)]
    done = subprocess.run(
        command, input=json.dumps(prompts), capture_output=True, text=True, check=False
    )
    if done.returncode == -signal.SIGILL:
        pytest.skip("llama-cpp-python was built for instructions that this machine does not run")
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@torch.inference_mode()
def shortfalls(model, prompt, following):
    """By how much each token's logit is below the best one, given the tokens before it."""
    tokens = [*prompt, *following]
    rows = model.rows([Span(model.new_cache(), 0, len(tokens) - 1)])
    hidden = model.run_layers(model.embed(tokens[:-1]), rows, 0, model.config.num_layers)
    logits = model.unembed(hidden[len(prompt) - 1 :]).float()
    return logits.amax(-1) - logits[range(len(following)), following]


@pytest.mark.skipif(not runtimes(), reason="needs the native library")
@pytest.mark.parametrize("kind", WRITTEN)
def test_it_continues_the_bundled_models_texts_as_we_do(tmp_path, kind):
    file = write(BUNDLED, tmp_path / "m.gguf", kind)
    lm = package.load(file, device="cpu", check=False)
    for prompt, (tokens, following) in zip(
        PROMPTS, by_llama_cpp(file, PROMPTS, TOKENS), strict=True
    ):
        assert tokens == lm.tokenizer.encode(prompt)
        ours = lm.generate(prompt, "vanilla", max_new_tokens=TOKENS, ignore_eos=True).token_ids
        if kind in EXACT:
            assert following == ours
        assert float(shortfalls(lm.model, tokens, following).max()) <= NEAR


CASES = [
    *(("llama", "gqa"), ("llama", "tied"), ("llama", "biases"), ("llama", "wide-heads")),
    *(("llama", "rope-linear"), ("llama", "rope-llama3"), ("mistral", "no-window")),
    *(("qwen2", "untied"), ("qwen3", "tied")),
]


@pytest.mark.parametrize(("family", "variant"), CASES)
def test_it_runs_every_family(tmp_path, family, variant):
    assert variant in VARIANTS[family]
    tokenizer = byte_level()
    sizes = {**WIDE, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    folder = saved(tmp_path / "folder", family, variant, **sizes)
    tokenizer.save_pretrained(folder)
    file = write(folder, tmp_path / "m.gguf")
    lm = package.load(folder, "fp32", "cpu", check=False, runtime="eager")
    for text, (tokens, following) in zip(TEXTS, by_llama_cpp(file, TEXTS, 24), strict=True):
        assert tokens == lm.tokenizer.encode(text)
        assert float(shortfalls(lm.model, tokens, following).max()) <= 1e-2


def test_it_splits_texts_as_sentencepiece_does(tmp_path):
    tokenizer = sentencepiece()
    sizes = {**WIDE, "vocab_size": len(tokenizer), "eos_token_id": 2, "bos_token_id": 1}
    folder = saved(tmp_path / "folder", **sizes)
    tokenizer.save_pretrained(folder)
    texts = [text for text in TEXTS if not text.startswith(" ")]  # there llama.cpp adds a space
    found = by_llama_cpp(write(folder, tmp_path / "m.gguf"), texts, 1)
    assert [tokens for tokens, _ in found] == [tokenizer(text)["input_ids"] for text in texts]
