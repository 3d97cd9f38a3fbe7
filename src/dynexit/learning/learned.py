"""The folder of what was learned from a model: two files and a card.

Not responsible for finding it (`finding.py`).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from dynexit.decoding.successors import MOST, SuccessorTable
from dynexit.errors import DynexitError, reason
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.files import make_folder, replacing
from dynexit.model.reading import check_file
from dynexit.plain import build, parse_json

FORMAT = 1
ARRAYS, ABOUT, CARD = "learned.safetensors", "learned.json", "README.md"
FREQUENT = 2**14  # tokens that are kept, the most frequent first
LARGEST = 2**28  # bytes of a file of arrays


@dataclass(frozen=True)
class Figures:
    """How a table did on greedy texts of prompts that it never saw.

    Attributes:
        positions: tokens that were written.
        best, best_three: how many of these the table's best, or one of its best three, is.
        orders: positions whose longest known context has 0, 1, 2 and 3 tokens.
        right: of these, where the table's best is right.
    """

    positions: int
    best: int
    best_three: int
    orders: tuple[int, ...]
    right: tuple[int, ...]


@dataclass(frozen=True)
class Prediction:
    """What decoding with a table should gain, and what exits could, on held-out texts.

    Attributes:
        processor: whose costs of passes were used.
        speedup: of lookup and table against plain decoding, by family of prompts, and of `all`.
        agreement: share of tokens where exits 1, 2, ... choose what the last layer does.
    """

    processor: str
    speedup: Mapping[str, float]
    agreement: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """What it was learned of."""

    texts: int
    tokens: int
    positions: int
    longest: int
    table_size: int
    chat: bool
    own_prompts: int = 0


@dataclass(frozen=True)
class About:
    """Everything but the arrays.

    Attributes:
        fingerprint: of the model's weights.
        digest: of the file of arrays: SHA-256, the first 16 hex digits.
        held_out: figures of each family, and of `all`.
        covered: shares of held-out tokens that are among the 512, 1024 ... most frequent.
        families: the same, for each family of prompts.
        draft_tokens: how many of these exits choose among, if that was chosen.
        prediction: of its speed, if it was made with one.
    """

    format: int
    model: str
    fingerprint: str
    vocabulary_size: int
    recipe: Recipe
    made_by: str
    digest: str = ""
    held_out: Mapping[str, Figures] = field(default_factory=dict)
    covered: Mapping[str, float] = field(default_factory=dict)
    families: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    draft_tokens: int | None = None
    prediction: Prediction | None = None


@dataclass(frozen=True)
class Learned:
    """What a model's own text taught.

    Attributes:
        table: likely next tokens after contexts.
        frequent: token ids, the most frequent in its own text first.
    """

    table: SuccessorTable
    frequent: tuple[int, ...]
    about: About

    @property
    def draft_tokens(self) -> DraftTokens:
        """Which tokens of the head exits read."""
        covered = {int(count): share for count, share in self.about.covered.items()}
        chosen, vocabulary = self.about.draft_tokens, self.about.vocabulary_size
        return DraftTokens.of(self.frequent, covered, vocabulary, chosen)


def write_learned(
    folder: Path, table: SuccessorTable, frequent: NDArray[Any], about: About, card: str
) -> Learned:
    """Write what was learned into a folder. Interrupted, it leaves what is refused or what was
    there before: the last file to be written names the digest of the first.

    Raises:
        DynexitError: it cannot be written.
    """
    make_folder(folder)
    arrays = {
        "keys": table.keys,
        "tokens": table.tokens,
        "chances": table.chances,
        "frequent": frequent[:FREQUENT].astype(np.uint32),
    }
    stored = save_arrays({name: np.ascontiguousarray(one) for name, one in arrays.items()})
    about = About(**{**vars(about), "digest": _digest(stored)})
    said = json.dumps(asdict(about), indent=1) + "\n"
    for name, content in ((ARRAYS, stored), (CARD, card.encode()), (ABOUT, said.encode())):
        with replacing(folder / name) as partial:
            partial.write_bytes(content)
    return Learned(table, tuple(arrays["frequent"].tolist()), about)


def is_learned(folder: Path) -> bool:
    """Whether a folder holds something that was learned; not one that may not be looked into."""
    return os.path.isfile(folder / ABOUT)


def read_about(folder: Path) -> About:
    """What a folder says of its contents.

    Raises:
        DynexitError: nothing was learned there, or it is damaged or of another version.
    """
    file = folder / ABOUT
    check_file(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DynexitError(
            f"{file} cannot be read: {reason(error)}; make such a folder with `dynexit learn`."
        ) from error
    value = parse_json(text, str(file))
    version = value.get("format") if isinstance(value, dict) else None
    if version != FORMAT:
        raise DynexitError(
            f"{file} has format {version!r}, but this dynexit reads {FORMAT}: run `dynexit learn` "
            "again."
        )
    return build(About, value, str(file))


def read_learned(folder: Path, vocabulary_size: int) -> Learned:
    """Read a folder.

    Args:
        vocabulary_size: of the model that it is for.

    Raises:
        DynexitError: it is damaged, or of another vocabulary.
    """
    about, file = read_about(folder), folder / ARRAYS
    check_file(file)
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        stored = file.read_bytes()
        if _digest(stored) != about.digest:
            raise ValueError(f"it is not the one that {ABOUT} is about")
        arrays = load_arrays(stored)
        table = SuccessorTable(arrays["keys"], arrays["tokens"], arrays["chances"])
        frequent = arrays["frequent"]
        most = max(int(table.tokens.max(initial=0)), int(frequent.max(initial=0)))
        if frequent.ndim != 1 or frequent.dtype != np.uint32:
            raise ValueError("its frequent tokens are no list of ids")
        if most >= min(vocabulary_size, MOST):
            raise ValueError(f"it is not for {vocabulary_size} tokens")
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise DynexitError(
            f"{file} cannot be read: {reason(error)}; run `dynexit learn` again."
        ) from error
    return Learned(table, tuple(frequent.tolist()), about)


def _digest(stored: bytes) -> str:
    return hashlib.sha256(stored).hexdigest()[:16]
