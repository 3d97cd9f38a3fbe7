"""What a start brings in: every command waits for it."""

import subprocess
import sys

from transformers import AutoTokenizer

import dynexit
from dynexit.model.places import BUNDLED

COMPILERS = ("torch._dynamo", "sympy")
CODE = f"""
import sys, torch
before = set(sys.modules)
import dynexit
dynexit.load(device="cpu", check=False).generate("Hello", max_new_tokens=4)
assert not set({COMPILERS}) & (set(sys.modules) - before)
"""


def test_a_text_is_generated_without_importing_a_compiler():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tokenizer_is_the_one_that_transformers_would_choose():
    ours = dynexit.load(device="cpu", check=False).tokenizer
    theirs = AutoTokenizer.from_pretrained(str(BUNDLED))
    text = "Größe: 3 x 12 = 36\n\n    return  x<|endoftext|>"
    assert type(ours.loaded) is type(theirs)
    assert ours.encode(text) == theirs(text)["input_ids"]
    assert ours.loaded.special_tokens_map == theirs.special_tokens_map
