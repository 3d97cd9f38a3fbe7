"""Plain values into dataclasses: what fits its annotation, and what is said of what does not."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from dynexit import DynexitError
from dynexit.plain import build, parse_json


@dataclass
class Inner:
    name: str
    sizes: list[int] = field(default_factory=list)


@dataclass
class Outer:
    count: int
    share: float = 0.5
    kind: Literal["a", "b"] = "a"
    maybe: int | None = None
    pair: tuple[int, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    inner: Inner | Any = None
    many: list[Inner] = field(default_factory=list)
    own: Inner = field(default_factory=lambda: Inner("own"))
    other: Inner | None = None


def test_what_fits_is_taken():
    values = {
        "count": 3, "share": 1, "kind": "b", "maybe": None, "pair": [1, 2], "scores": {"x": 0.5},
        "many": [{"name": "one", "sizes": [1]}], "own": {"name": "two"},
        "other": {"name": "three"},
    }  # fmt: skip
    made = build(Outer, values, "it")
    assert made.many == [Inner("one", [1])]
    assert made.own == Inner("two")
    assert made.other == Inner("three")
    assert made.pair == (1, 2)
    assert build(Outer, {"count": 3}, "it") == Outer(3)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (3, r"it is 3: it must be a list of names with values\."),
        ({}, r"it lacks 'count'\."),
        ({"count": 3, "cuont": 4}, "it has an unknown 'cuont'; it may have count, share,"),
        ({"count": "3"}, r"it\.count is '3': it must be a whole number\."),
        ({"count": True}, "it.count is True: it must be a whole number"),
        ({"count": 3.0}, "it.count is 3.0: it must be a whole number"),
        ({"count": None}, "it.count is None: it must be a whole number"),
        ({"count": 1, "share": float("nan")}, "it.share is nan: it must be a finite number"),
        ({"count": 1, "share": float("inf")}, "it.share is inf: it must be a finite number"),
        (
            {"count": 1, "share": 10**400},
            "it.share is a number of 1329 bits: it must be a finite number",
        ),
        ({"count": 1, "share": False}, "it.share is False: it must be a finite number"),
        ({"count": 1, "kind": "c"}, "it.kind is 'c': it must be 'a' or 'b'"),
        ({"count": 1, "maybe": "x"}, "it.maybe is 'x': it must be a whole number"),
        ({"count": 1, "pair": [1, "2"]}, "it.pair is .*: it must be a list, each a whole number"),
        ({"count": 1, "pair": 5}, "it.pair is 5: it must be a list"),
        ({"count": 1, "scores": {"x": "y"}}, "it.scores is .* each a finite number"),
        ({"count": 1, "scores": []}, "it.scores is .*: it must be a list of names with values"),
        ({"count": 1, "many": [{"name": 3}]}, r"it\.many\[0\]\.name is 3: it must be text"),
        ({"count": 1, "many": [7]}, r"it\.many\[0\] is 7: it must be a list of names"),
        ({"count": 1, "own": []}, r"it\.own is \[\]: it must be a list of names"),
        ({"count": 1, "other": {"name": 3}}, r"it\.other\.name is 3: it must be text"),
    ],
)
def test_what_does_not_is_named(values, sentence):
    with pytest.raises(DynexitError, match=f"^{sentence}"):
        build(Outer, values, "it")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 5_000, "nul"])
def test_what_is_no_json(text):
    with pytest.raises(DynexitError, match="line 3 is not JSON"):
        parse_json(text, "line 3")
