"""Parses amounts of memory for the prefix cache."""

import re

from dynexit.errors import DynexitError

DEFAULT = "1GB"  # where nothing is said
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def memory_of(given: int | str) -> int:
    """The number of bytes: a number, or a text such as "512MB" or "1.5 GB".

    Raises:
        DynexitError: it is neither.
    """
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    text = given.strip().upper() if isinstance(given, str) else ""
    told = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Z]*)", text)
    if told is None or told[2] not in UNITS:
        raise DynexitError(
            f"cache_memory is {given!r}: give bytes, such as 500000000, 500MB or 0.5GB, or 0 for "
            "none."
        )
    return int(float(told[1]) * UNITS[told[2]])
