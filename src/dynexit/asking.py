"""Checks arguments of callers: a prompt, stop strings, numbers, and names of arguments.

Not responsible for settings of methods (`setting_types.py`), nor for `Sampling`, which checks
itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import Any

import numpy as np
import torch

from dynexit.decoding.sampling_parameters import Sampling, check_stop
from dynexit.errors import DynexitError

WAYS = "give text, or token ids"


def check_text(text: str, what: str) -> None:
    """Raises DynexitError for half a character, which Python can hold and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DynexitError(
            f"{what} is not UTF-8 text: its character {error.start} is "
            f"{text[error.start]!r}, half of a surrogate pair."
        ) from error


def token_ids(prompt: object) -> list[int]:
    """The ids of a prompt that is no text: a list, an array or a tensor of one dimension.

    Raises:
        DynexitError: anything else.
    """
    given = prompt.tolist() if isinstance(prompt, np.ndarray | torch.Tensor) else prompt
    if isinstance(given, bytes | bytearray):
        raise DynexitError("the prompt is bytes: decode it, or give token ids.")
    if isinstance(given, Mapping):
        raise DynexitError('the prompt is a dictionary: give its "input_ids", one row of them.')
    if not isinstance(given, Iterable):
        raise DynexitError(f"the prompt is {_shown(given)}: {WAYS}.")
    ids = list(given)
    for token in ids:
        _check_id(token)
    return [int(token) for token in ids]


def _check_id(token: object) -> None:
    if isinstance(token, str):
        raise DynexitError("the prompt is a list of texts: give one text per call.")
    if isinstance(token, Iterable) and not (isinstance(token, torch.Tensor) and token.ndim == 0):
        raise DynexitError("the prompt holds several rows of token ids: give one row per call.")
    whole = isinstance(token, Integral) and not isinstance(token, bool)
    if not whole and not (isinstance(token, torch.Tensor) and not token.is_floating_point()):
        raise DynexitError(f"token id {_shown(token)} is not a whole number.")


def stop_strings(stop: object) -> list[str]:
    """Stop strings as a list; one may be given as it is.

    Raises:
        DynexitError: what is no text.
    """
    stops = [] if stop is None else texts_of(stop, "stop")
    for one in stops:
        check_stop(one)
        check_text(one, "a stop string")
    return stops


def texts_of(given: object, what: str) -> list[str]:
    """Texts as a list; one may be given as it is.

    Raises:
        DynexitError: what is no text.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or isinstance(texts, bytes):
        raise DynexitError(f"{what} is {_shown(given)}: give a text or a list of texts.")
    for one in texts:
        if not isinstance(one, str):
            raise DynexitError(f"{what} holds {_shown(one)}: give a text or a list of texts.")
    return list(texts)


def check_whole(name: str, value: object, least: int) -> None:
    """Raises DynexitError where `value` is no whole number, or less than `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise DynexitError(f"{name} is {_shown(value)}: it must be a whole number.")
    if value < least:
        raise DynexitError(f"{name} is {value}: it must be at least {least}.")


def one_rule(given: Sampling | None, fields: Mapping[str, Any]) -> Sampling:
    """How tokens are chosen, from one of the two ways to say it.

    Raises:
        DynexitError: both ways at once, or a value that is wrong.
    """
    if given is None:
        return Sampling(**fields)
    if not isinstance(given, Sampling):
        raise DynexitError(
            "sampling must be a dynexit.Sampling: make one, or give its fields as options."
        )
    if fields:
        raise DynexitError(
            f"{next(iter(fields))} is given in addition to `sampling`: set it there."
        )
    return given


def meant(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, if one is much like it."""
    return next(iter(get_close_matches(name, list(known), 1)), None)


def _shown(value: object) -> str:
    return repr(value)[:40]
