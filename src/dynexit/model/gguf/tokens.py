"""A GGUF file's tokenizer, by transformers' own conversion."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gguf import TokenType
from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from dynexit.model.gguf.weights import joined_header

KIND, SPLITTING = "tokenizer.ggml.model", "tokenizer.ggml.pre"
TYPES = "tokenizer.ggml.token_type"
NONE = "no_vocab"  # llama.cpp's word for a file without a tokenizer
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _by(pattern: str) -> PreTokenizer:
    split = Split(Regex(pattern), behavior="isolated")
    return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])


_PLAIN = ByteLevel(add_prefix_space=False)
# llama.cpp's name -> how a byte-level tokenizer splits a text, and whether a word that is a token
# is one whatever the merges say
SPLITTINGS: dict[str, tuple[PreTokenizer, bool]] = {
    "gpt-2": (_PLAIN, False),
    "smollm": (Sequence([Digits(individual_digits=True), _PLAIN]), False),
    "llama-bpe": (_by(WORDS + r"\p{N}{1,3}" + REST), True),
    "qwen2": (_by(WORDS + r"\p{N}" + REST), False),
}
ALIASES = dict.fromkeys(("command-r", "refact", "starcoder"), "smollm")


def has_tokenizer(file: Path) -> bool:
    """Whether the file brings one."""
    return joined_header(file).metadata.get(KIND, NONE) != NONE


def used_ids(file: Path) -> int | None:
    """Ids from 0 up to this are tokens, and those beyond fill the vocabulary up; None where the
    file does not say.
    """
    types = joined_header(file).metadata.get(TYPES)
    if not isinstance(types, np.ndarray) or not (types != TokenType.UNUSED).any():
        return None
    return int(np.flatnonzero(types != TokenType.UNUSED)[-1]) + 1


def from_file(file: Path) -> Any:
    """Transformers' tokenizer; of one that it does not know, it raises errors of many kinds."""
    from transformers import PreTrainedTokenizerFast

    header = joined_header(file)
    with tempfile.TemporaryDirectory(prefix="dynexit-") as folder:
        # Alone: files of another tokenizer that lie beside it would come first.
        link = Path(folder) / "model.gguf"
        link.symlink_to(header.file.absolute())
        loaded: Any = PreTrainedTokenizerFast.from_pretrained(
            folder, gguf_file=link.name, local_files_only=True
        )
    name = str(header.metadata.get(SPLITTING))
    if known := SPLITTINGS.get(ALIASES.get(name, name)):
        loaded.backend_tokenizer.pre_tokenizer, loaded.backend_tokenizer.model.ignore_merges = known
    return loaded
