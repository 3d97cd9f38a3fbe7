"""Names that differ between releases of transformers, found on the objects, not by version.

A model's code may come from another release than the library (`trust_remote_code`), so that both
names can be met at once.
"""

import inspect
from collections.abc import Callable
from typing import Any

CACHE_NAMES = ("cache", "past_key_values")  # the newest first


def cache_keyword(forward: Callable[..., Any]) -> str:
    """What `forward` calls the cache that it is given."""
    accepted = inspect.signature(forward).parameters
    return next((name for name in CACHE_NAMES if name in accepted), CACHE_NAMES[-1])


def cache_of(outputs: Any) -> Any:
    """The cache among what a model returned."""
    return next(outputs[name] for name in CACHE_NAMES if name in outputs)


def is_empty_cache(value: Any) -> bool:
    """Whether `value` is a cache of any kind that holds no tokens yet."""
    length = getattr(value, "get_seq_length", None)
    return length is not None and not int(length())
