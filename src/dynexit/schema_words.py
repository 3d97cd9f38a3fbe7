"""What pydantic finds wrong with a value, in plain words."""

from collections.abc import Mapping
from typing import Any

WORDS = {  # by the beginnings of pydantic's names of faults
    "float_": "a number",
    "finite_number": "a finite number",
    "int_": "a whole number",
    "bool_": "true or false",
    "string_type": "text",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "list_type": "a list",
    "dict_type": "a JSON object",
    "model_": "a JSON object",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "literal_error": "{expected}",
    "none_required": "null",
}


def must_be(fault: Mapping[str, Any]) -> str | None:
    """What a value must be, from one of `ValidationError.errors()`; None of a fault not known."""
    for beginning, words in WORDS.items():
        if fault["type"].startswith(beginning):
            return words.format(**fault.get("ctx", {}))
    return None
