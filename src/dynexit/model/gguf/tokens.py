"""A GGUF file's tokenizer: a byte-level one is built of the file's words and merges, any other is
transformers' own conversion, whose reader of strings takes four times as long as all the rest.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gguf import TokenType
from packaging.version import Version
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split
from tokenizers.processors import TemplateProcessing

from dynexit.errors import DynexitError
from dynexit.model.gguf.header import Strings
from dynexit.model.gguf.weights import joined_header

OLDEST = "5.18"  # transformers before it lose spaces
KIND, SPLITTING = "tokenizer.ggml.model", "tokenizer.ggml.pre"
TYPES = "tokenizer.ggml.token_type"
TOKENS, MERGES = "tokenizer.ggml.tokens", "tokenizer.ggml.merges"
SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
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


def reads_gguf() -> bool:
    """Whether the installed transformers reads GGUF tokenizers rightly."""
    return Version(version("transformers")) >= Version(OLDEST)


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
    """Transformers' tokenizer; of one that it does not know, it raises errors of many kinds.

    Raises:
        DynexitError: transformers is too old to read one rightly.
    """
    metadata = joined_header(file).metadata
    name = str(metadata.get(SPLITTING))
    known = SPLITTINGS.get(ALIASES.get(name, name))
    loaded = (known and _built(metadata, *known)) or _converted(file)
    if known is not None:
        loaded.backend_tokenizer.pre_tokenizer, loaded.backend_tokenizer.model.ignore_merges = known
    # As llama.cpp has it where the file does not say.
    begins = metadata[KIND] == "llama" or (known is not None and known[1])
    _put_around(loaded, metadata, begins)
    return loaded


def _built(metadata: Mapping[str, Any], splitter: PreTokenizer, whole: bool) -> Any:
    """Of a byte-level file's own words and merges; None where it is another kind of file, or
    spells a word otherwise than in bytes.
    """
    from transformers import PreTrainedTokenizerFast

    listed, merges = metadata.get(TOKENS), metadata.get(MERGES)
    if not (isinstance(listed, Strings) and isinstance(merges, Strings)):
        return None
    if metadata[KIND] != "gpt2":
        return None
    words = listed.read()
    if not set().union(*words) <= {*ByteLevel.alphabet()}:
        return None
    pairs: Any = [tuple(merge.split(" ")) for merge in merges.read()]
    model = BPE(
        vocab={word: index for index, word in enumerate(words)},
        merges=pairs,
        ignore_merges=whole,
        continuing_subword_prefix="",
        end_of_word_suffix="",
    )
    backend = Tokenizer(model)
    backend.pre_tokenizer, backend.decoder = splitter, ByteLevelDecoder()
    _add_whole(backend, words, np.asarray(metadata.get(TYPES, ())))
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in SPECIAL.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=_Given(backend),
        chat_template=metadata.get("tokenizer.chat_template"),
        **{name: words[token] for name, token in ids.items() if token is not None},
    )


@dataclass
class _Given:
    """A tokenizer that transformers takes over; it would write it as JSON and read that again."""

    backend: Tokenizer

    def __deepcopy__(self, _: Any) -> Tokenizer:
        return self.backend


def _add_whole(backend: Tokenizer, words: list[str], types: np.ndarray[Any, Any]) -> None:
    """Words that are never split: special ones, and those of a user's."""
    for kind, special in ((TokenType.CONTROL, True), (TokenType.USER_DEFINED, False)):
        these = [words[index] for index in np.flatnonzero(types == kind)]
        add = backend.add_special_tokens if special else backend.add_tokens
        add([AddedToken(word, normalized=False, special=special) for word in these])


def _converted(file: Path) -> Any:
    if not reads_gguf():
        raise DynexitError(
            f"transformers {version('transformers')} reads GGUF tokenizers wrongly: install a "
            f"newer one (pip install 'transformers>={OLDEST}')."
        )
    from transformers import PreTrainedTokenizerFast

    header = joined_header(file)
    with tempfile.TemporaryDirectory(prefix="dynexit-") as folder:
        # Alone: files of another tokenizer that lie beside it would come first.
        link = Path(folder) / "model.gguf"
        link.symlink_to(header.file.absolute())
        loaded: Any = PreTrainedTokenizerFast.from_pretrained(
            folder, gguf_file=link.name, local_files_only=True
        )
    return loaded


def _put_around(loaded: Any, metadata: Mapping[str, Any], begins: bool) -> None:
    """BOS before a text and EOS after it, as the file says; of BOS, `begins` where it does not."""

    def wanted(name: str, default: bool) -> list[str]:
        token = getattr(loaded, f"{name}_token")
        add = metadata.get(f"tokenizer.ggml.add_{name}_token", default)
        return [token] if token is not None and add else []

    before, after = wanted("bos", begins), wanted("eos", False)
    ids = [(token, loaded.convert_tokens_to_ids(token)) for token in {*before, *after}]
    around = TemplateProcessing(single=[*before, "$A", *after], special_tokens=ids)
    loaded.backend_tokenizer.post_processor = around
