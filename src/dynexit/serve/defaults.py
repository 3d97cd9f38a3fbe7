"""Sampling defaults, from OpenAI or the checkpoint, for requests that leave them out."""

from pathlib import Path
from typing import Any

from dynexit.decoding.sampling_parameters import Sampling
from dynexit.errors import DynexitError
from dynexit.model.reading import read_json

OPENAI = {"temperature": 1.0}
NAMES = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def load_sampling(folder: Path) -> dict[str, Any]:
    """What generation_config.json says, by the names of `Sampling`, and OpenAI's temperature.

    Raises:
        DynexitError: a value that cannot be used.
    """
    path = folder / "generation_config.json"
    told = read_json(path) if path.exists() else {}
    found = OPENAI | {name: told[name] for name in NAMES if told.get(name) is not None}
    if told.get("do_sample") is False:
        found["temperature"] = 0.0
    try:
        Sampling(**found)
    except DynexitError as error:
        raise DynexitError(f"{path}: {error}") from error
    return found
