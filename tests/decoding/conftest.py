from dataclasses import replace
from itertools import pairwise

import pytest
from guided import SHAPES
from tiny import LLAMA, decode, random_model, scripted

from dynexit import LanguageModel
from dynexit.decoding.grammars import Grammars
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.training.vocabulary import byte_level_tokenizer, save_tokenizer

# No token stands twice in its encoding, so that "what comes after this token" can be scripted.
# The emoji is not in the training text: it is four tokens, one a byte.
TEXT = "The quick brown fox, über den Fluß; jumps over lazy dogs 😀 at dawn.\nAnswer: four"
CORPUS = [TEXT.replace("😀", "")] * 9


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """A byte-level BPE whose id 0 ends a text."""
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(byte_level_tokenizer(310, CORPUS), folder, 512)
    return CheckpointTokenizer(folder)


@pytest.fixture(scope="session")
def author(tokenizer):
    """A model that writes TEXT after its opening, then EOS.

    Its shallow exit drafts every fourth token wrongly; exits from layer 2 on are always right.
    """
    ids = tokenizer.encode(TEXT)
    assert len(set(ids)) == len(ids) >= 25
    says = [0] * tokenizer.size
    for token, following in pairwise(ids):
        says[token] = following
    drafts = list(says)
    for token in ids[2::4]:
        drafts[token] = ids[0]
    return LanguageModel(scripted(says, drafts), tokenizer, frozenset({0}))


@pytest.fixture(scope="session")
def opening(tokenizer):
    """The prompt: TEXT's first two tokens."""
    return tokenizer.encode(TEXT)[:2]


@pytest.fixture(scope="session")
def continuation(tokenizer, opening):
    """What the author writes after it."""
    return TEXT.removeprefix(tokenizer.decode(opening))


@pytest.fixture(scope="session")
def grammars(tokenizer):
    pytest.importorskip("llguidance")
    return Grammars(tokenizer.backend, frozenset({0}))


@pytest.fixture(scope="session")
def word_model(tokenizer):
    """A random model of the tokenizer's vocabulary."""
    return random_model(replace(LLAMA, vocab_size=tokenizer.size), depth_gain=0.6)


@pytest.fixture(scope="session")
def word_lm(word_model, tokenizer):
    return LanguageModel(word_model, tokenizer, frozenset({0}))


@pytest.fixture(scope="session")
def write(word_model, grammars, opening):
    """Decode after the opening under one of the constraints of `guided.SHAPES`."""

    def run(shape, method="vanilla", on=word_model, ends=frozenset({0}), count=36, **options):
        guide = grammars.guide(SHAPES[shape], ends, on.vocabulary_size)
        return decode(on, opening, method, count, ends, guide=guide, **options)[0]

    return run
