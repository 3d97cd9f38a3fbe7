"""A trace: per position of greedy texts, the best tokens of every layer, in one file.

Not responsible for making traces (`recording.py`) nor for decoding with them (`model.py`).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dynexit.decoding.records import ShadowTokens
from dynexit.errors import DynexitError, reason
from dynexit.model.files import replacing
from dynexit.plain import build, parse_json

KIND = "dynexit-trace-2"
BEST = 8  # tokens of a reading
SAID = "matched", "confidence"  # of a sample
ARRAYS = ("tokens", "best", "confidence", "trimmed", "trimmed_confidence")


@dataclass(frozen=True)
class TraceInfo:
    """What all texts of a trace have in common.

    Attributes:
        draft_vocabulary: tokens of the head that the trimmed readings saw.
    """

    model: str
    num_layers: int
    vocab_size: int
    max_positions: int
    draft_vocabulary: int
    eos: tuple[int, ...] = ()


@dataclass(frozen=True)
class TracedText:
    """One text: P positions from `first` on were read, each about the token after it.

    Attributes:
        name: of the prompt, such as "gsm8k-17".
        tokens: the prompt's and the text's, with the target's next token last.
        best: [L, P, BEST], the tokens of the best logits of every layer, the best first.
        confidence: [L, P, BEST], their probabilities.
        trimmed: [L, P, BEST], the best of the tokens that drafts read only, with their
            probabilities among those in `trimmed_confidence`.
    """

    name: str
    prompt_length: int
    first: int
    tokens: NDArray[np.int32]
    best: NDArray[np.int32]
    confidence: NDArray[np.float32]
    trimmed: NDArray[np.int32]
    trimmed_confidence: NDArray[np.float32]

    @property
    def task(self) -> str:
        """The benchmark that the prompt is of, from its name."""
        return self.name.rsplit("-", 1)[0].split("/", 1)[0]

    @property
    def generated(self) -> int:
        """Tokens of the text that decoding can be asked for."""
        return len(self.tokens) - self.prompt_length

    @property
    def agreement(self) -> NDArray[np.bool_]:
        """[L, n]: whether each layer predicts the target's token, over the text's n tokens."""
        text = self.best[:, self.prompt_length - 1 - self.first :, 0]
        return np.equal(text, text[-1])


@dataclass(frozen=True)
class Trace:
    """Traced texts of one model.

    Attributes:
        sample: what its exits said of the text that real decoding begins with, if it is known.
    """

    info: TraceInfo
    texts: list[TracedText] = field(default_factory=list)
    sample: ShadowTokens | None = None

    def save(self, file: Path) -> None:
        """Write safetensors: arrays named "INDEX.NAME", the rest in the header.

        Raises:
            DynexitError: the file cannot be written.
        """
        arrays = {
            f"{index}.{name}": getattr(text, name)
            for index, text in enumerate(self.texts)
            for name in ARRAYS
        }
        if self.sample is not None:
            arrays |= {f"sample.{name}": getattr(self.sample, name) for name in SAID}
        told = [(text.name, text.prompt_length, text.first) for text in self.texts]
        header = {"kind": KIND, "info": json.dumps(asdict(self.info)), "texts": json.dumps(told)}
        with replacing(file) as partial:
            save_file(arrays, partial, header)


def load_trace(file: Path) -> Trace:
    """Read a trace.

    Raises:
        DynexitError: a file that is none, or a damaged one.
    """
    try:
        with safe_open(file, "np") as stored:
            return _read(stored)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        told = reason(error)
        raise DynexitError(
            f"{file} cannot be read as a trace: {told}; make one with `dynexit trace`."
        ) from error


def _read(stored: Any) -> Trace:
    header = stored.metadata() or {}
    if header.get("kind") != KIND:
        raise ValueError("it is none")
    info = build(TraceInfo, parse_json(header["info"], "its header"), "info")
    _check_info(info)
    texts = []
    for index, (name, prompt_length, first) in enumerate(parse_json(header["texts"], "its header")):
        told = build(_Told, {"name": name, "prompt_length": prompt_length, "first": first}, "texts")
        arrays = (stored.get_tensor(f"{index}.{array}") for array in ARRAYS)
        text = TracedText(told.name, told.prompt_length, told.first, *arrays)
        _check_text(text, info)
        texts.append(text)
    return Trace(info, texts, _read_sample(stored, info))


def _read_sample(stored: Any, info: TraceInfo) -> ShadowTokens | None:
    """Raises ValueError where its arrays do not fit one another."""
    if "sample.matched" not in stored.keys():  # noqa: SIM118  # no dictionary
        return None
    matched, confidence = (stored.get_tensor(f"sample.{name}") for name in SAID)
    layers = tuple(range(1, info.num_layers))
    kinds = matched.dtype == np.bool_ and confidence.dtype == np.float32
    if not (kinds and matched.shape == confidence.shape and matched.shape[:1] == (len(layers),)):
        raise ValueError("its sample's arrays do not fit one another")
    return ShadowTokens(matched, confidence, layers)


@dataclass(frozen=True)
class _Told:
    """What the header says of a text."""

    name: str
    prompt_length: int
    first: int


def _check_info(info: TraceInfo) -> None:
    """Raises ValueError for sizes that no model has."""
    if info.num_layers < 2 or info.max_positions < 1:
        raise ValueError("its header has a size that no model has")
    if not 1 <= info.draft_vocabulary <= info.vocab_size:
        raise ValueError("its header has a draft vocabulary beyond the vocabulary")


def _check_text(text: TracedText, info: TraceInfo) -> None:
    """Raises ValueError where the arrays of a text do not fit one another."""
    positions = len(text.tokens) - 1 - text.first
    wanted = ((len(text.tokens),), *[(info.num_layers, positions, BEST)] * 4)
    for name, expected in zip(ARRAYS, wanted, strict=True):
        array = getattr(text, name)
        if array.shape != expected:
            raise ValueError(f"{name} of {text.name} has the shape {array.shape}, not {expected}")
        sure = name.endswith("confidence")
        if array.dtype != (np.float32 if sure else np.int32):
            raise ValueError(f"{name} of {text.name} is of type {array.dtype}")
        most = 1.001 if sure else info.vocab_size - 1
        if not (array.size and array.min() >= 0 and array.max() <= most):
            raise ValueError(f"{name} of {text.name} has a number out of range")
    if not 0 <= text.first < text.prompt_length < len(text.tokens) <= info.max_positions + 1:
        raise ValueError(f"{text.name} has lengths that do not fit one another")
