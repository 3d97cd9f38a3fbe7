"""Stop strings: where they begin, what may become one, and special tokens among their text.

Special tokens are no text, but a stop string may name them. So a text is searched twice: as it is
read, and with a mark in the place of every special token, by stop strings with the same marks.
"""

import re
from collections.abc import Mapping, Sequence

FIRST, LAST = "\ud800", "\udbff"  # marks are halves of surrogate pairs, which no text has
OTHER = FIRST  # stands for special tokens that no stop string names
ANY_MARK = re.compile(f"[{FIRST}-{LAST}]")


class StopStrings:
    """Holds back what may become a stop string, and cuts at the first one.

    Args:
        stops: empty ones stop nothing.
        special: the tokenizer's special tokens, by id.
    """

    def __init__(self, stops: Sequence[str], special: Mapping[int, str]) -> None:
        self._read = [stop for stop in stops if stop]
        named = sorted(text for text in special.values() if any(text in s for s in self._read))
        marks = {text: chr(ord(OTHER) + at) for at, text in enumerate(named, start=1)}
        self._marks = {token: marks.get(text, OTHER) for token, text in special.items()}
        self._marked = [_marked(stop, marks) for stop in self._read] if marks else []
        self.longest = max(map(len, self._read), default=0)
        self._held = ""
        self.found = False

    def __bool__(self) -> bool:
        return bool(self._read)

    def mark(self, token: int) -> str:
        """What stands for a special token in what is fed."""
        return self._marks.get(token, "") if self._read else ""

    def ends(self, text: str) -> bool:
        """Whether `text`, fed after what is held, would complete a stop string with its end."""
        if not text:
            return False
        whole = self._held + text
        return whole.endswith(tuple(self._marked)) or _visible(whole).endswith(tuple(self._read))

    def feed(self, text: str, may_stop: bool = True) -> str:
        """Take text and marks; returns the text that is now certain to stand.

        Args:
            may_stop: otherwise a stop string that this completes is text like any other.
        """
        known, whole = self._held, self._held + text
        seen = _Seen(whole)
        if may_stop:
            cuts = [seen.place(at) for at in _found(seen.text, self._read, len(_visible(known)))]
            cuts += _found(whole, self._marked, len(known))
            if cuts:
                self.found, self._held = True, ""
                return _visible(whole[: min(cuts)])
        read = max((_overlap(seen.text, stop) for stop in self._read), default=0)
        begins = seen.place(len(seen.text) - read) if read else len(whole)
        marked = max((_overlap(whole, stop) for stop in self._marked), default=0)
        begins = min(begins, len(whole) - marked)
        self._held = whole[begins:]
        return _visible(whole[:begins])

    def release(self) -> str:
        """What was held back."""
        rest, self._held = self._held, ""
        return _visible(rest)


class _Seen:
    """A text with marks, as it is read."""

    def __init__(self, whole: str) -> None:
        self.text = _visible(whole)
        self._places: Sequence[int] = range(len(whole))
        if len(self.text) < len(whole):
            self._places = [at for at, one in enumerate(whole) if not FIRST <= one <= LAST]

    def place(self, at: int) -> int:
        """Where character `at` of the read text stands among the marks."""
        return self._places[at]


def _visible(text: str) -> str:
    return ANY_MARK.sub("", text)


def _marked(stop: str, marks: Mapping[str, str]) -> str:
    """A stop string with marks in the place of special tokens; of two at a place, the longer."""
    longest_first = sorted(marks, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda found: marks[found[0]], stop)


def _found(text: str, stops: Sequence[str], known: int) -> list[int]:
    """Where stop strings begin that end past the first `known` characters."""
    starts = ((stop, max(known - len(stop) + 1, 0)) for stop in stops)
    return [at for at in (text.find(stop, start) for stop, start in starts) if at >= 0]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that a longer `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
