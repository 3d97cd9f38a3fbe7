"""How many lines of this package's code a method takes."""

import importlib
import inspect
import io
import tokenize
from functools import cache

from dynexit.decoding.controllers import base, methods
from dynexit.decoding.drafters import drafters
from dynexit.decoding.proposers import proposers
from dynexit.methods import split_method

CONTROLLERS = base.__name__.rpartition(".")[0]
LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
}


@cache
def source_lines(method: str) -> int | None:
    """Lines of the files that only drafting needs: the method's controller with its base classes,
    its drafters and its proposers, whole files without blank lines, comments and docstrings.

    What all methods share is not counted. None for a method that is not of this package.
    """
    factory = methods().get(split_method(method)[0])
    if factory is None:
        return None
    made = factory()
    modules = {one.__module__ for one in type(made).__mro__ if one.__module__ != base.__name__}
    files = {name for name in modules if name.startswith(CONTROLLERS)}
    files |= {drafters()[name].__module__ for name in made.drafters if made.drafts}
    files |= {proposers()[name].__module__ for name in made.proposers}
    return sum(map(_lines_of, files))


def _lines_of(module: str) -> int:
    """Lines with code of a module."""
    source = inspect.getsource(importlib.import_module(module))
    found: set[int] = set()
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in LAYOUT:
            begins = begins or token.type == tokenize.NEWLINE
            continue
        if not (begins and token.type == tokenize.STRING):  # a docstring
            found |= {*range(token.start[0], token.end[0] + 1)}
        begins = False
    return len(found)
