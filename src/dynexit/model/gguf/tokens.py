"""A GGUF file's tokenizer, by transformers' own conversion."""

import tempfile
from pathlib import Path
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

from dynexit.model.gguf.weights import joined_header

KIND, SPLITTING = "tokenizer.ggml.model", "tokenizer.ggml.pre"
SINGLE_DIGITS = (
    "command-r",
    "refact",
    "smollm",
    "starcoder",
)  # which transformers does not know yet


def has_tokenizer(file: Path) -> bool:
    """Whether the file brings one."""
    return KIND in joined_header(file).metadata


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
    if header.metadata.get(SPLITTING) in SINGLE_DIGITS:
        digits, words = Digits(individual_digits=True), ByteLevel(add_prefix_space=False)
        loaded.backend_tokenizer.pre_tokenizer = Sequence([digits, words])
    return loaded
