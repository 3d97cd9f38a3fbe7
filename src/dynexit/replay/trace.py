"""A trace: per position of greedy texts, the two best tokens of every layer, in one file.

Not responsible for making traces (`recording.py`) nor for decoding with them (`model.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dynexit.errors import DynexitError
from dynexit.model.files import replacing

KIND = "dynexit-trace"
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
        best: [L, P, 2], the tokens of the two best logits of every layer.
        confidence: [L, P, 2], their probabilities.
        trimmed: [L, P], the best of the first tokens of the head only, with their probabilities
            among those in `trimmed_confidence`.
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
    """Traced texts of one model."""

    info: TraceInfo
    texts: list[TracedText] = field(default_factory=list)

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
        told = [(text.name, text.prompt_length, text.first) for text in self.texts]
        header = {"kind": KIND, "info": json.dumps(asdict(self.info)), "texts": json.dumps(told)}
        with replacing(file) as partial:
            save_file(arrays, partial, header)


def load_trace(file: Path) -> Trace:
    """Read a trace.

    Raises:
        DynexitError: a file that is none.
    """
    try:
        with safe_open(file, "np") as stored:
            header = stored.metadata() or {}
            if header.get("kind") != KIND:
                raise DynexitError(f"{file} is no trace: make one with `dynexit trace`.")
            info = json.loads(header["info"])
            told: Sequence[tuple[str, int, int]] = json.loads(header["texts"])
            texts = [
                TracedText(*one, *(stored.get_tensor(f"{index}.{name}") for name in ARRAYS))
                for index, one in enumerate(told)
            ]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DynexitError(f"{file} cannot be read as a trace: {error}.") from error
    return Trace(TraceInfo(**{**info, "eos": tuple(info["eos"])}), texts)
