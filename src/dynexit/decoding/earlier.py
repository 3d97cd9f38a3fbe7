"""Earlier texts, from which later ones are drafted, in groups and within memory limits.

Not responsible for who may draft from which texts: the caller names the group.
"""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from dynexit.model.native.earlier import NativeEarlier
from dynexit.model.native.proposing import functions

BITS = 18  # of the number of tokens that are kept of a group's texts, the newest
BYTES = 12  # that a token takes
GROUPS = 16  # that are kept, the last used
BEFORE = 32  # tokens of the prompt that are kept before a text: its beginning follows them


class EarlierTexts:
    """Texts in separate groups. Thread-safe; takes 3 MB per group, 50 MB at most."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, NativeEarlier] = OrderedDict()
        self._lock = Lock()

    def of(self, group: str = "") -> NativeEarlier | None:
        """The texts of a group; None without the native library, which keeps them."""
        if functions() is None:
            return None
        with self._lock:
            found = self._groups.pop(group, None) or NativeEarlier(BITS)
            self._groups[group] = found
            while len(self._groups) > GROUPS:
                self._groups.popitem(last=False)
            return found

    @property
    def bytes(self) -> int:
        """Memory in use."""
        return len(self._groups) * BYTES * 2**BITS


def added(tokens: Sequence[int], prompt_length: int) -> Sequence[int]:
    """What of a text is kept: what it wrote, and the end of its prompt."""
    return tokens[max(prompt_length - BEFORE, 0) :]
