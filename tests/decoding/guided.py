"""Constraints for tests, and what they allow."""

import numpy as np
import torch

from dynexit import Constraint

FIELDS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "fox": {"enum": ["quick", "brown", "lazy"]},
        "over": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "age", "fox", "over"],
    "additionalProperties": False,
}
LIST = r"[a-z]{2,4}(, [a-z]{2,4}){1,3}\."
SHAPES = {
    "schema": Constraint.json(FIELDS),
    "object": Constraint.json(),
    "regex": Constraint.regex(LIST),
    "choice": Constraint.choice(["The quick brown fox", "The lazy dog", "über 😀"]),
    "lark": Constraint.grammar('start: "<" word ("-" word)* ">"\nword: /[a-f]{1,3}/'),
    "gbnf": Constraint.grammar('root ::= "jumps" (" over " [0-9]+){1,2}\n'),
}


def fresh_mask(grammars, constraint, tokens, size):
    """Tokens that may follow, asked of a matcher that has read these tokens and nothing else."""
    matcher = grammars._compiled(constraint).deep_copy()
    assert matcher.consume_tokens(tokens)
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, bitorder="little")[:size].copy()).bool()
