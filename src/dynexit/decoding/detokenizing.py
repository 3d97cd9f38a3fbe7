"""Token ids to text, a token at a time, for every decoder of the tokenizers library.

Only the last few tokens are decoded anew, and what they add is told. Two things make text wait: a
final replacement character, which may be part of a character, and a run of byte tokens such as
`<0xF0>`, which decodes to text as a whole or not at all.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Sequence

from tokenizers import Tokenizer

UNFINISHED = "\ufffd"  # what part of a character decodes to
KEPT = 4  # tokens that the next ones need: a character has up to four bytes, each perhaps a token
LONGEST = 16  # tokens that are decoded anew, a run of byte tokens aside
BYTE = re.compile("<0x([0-9a-fA-F]{2})>")
UTF8 = getincrementaldecoder("utf-8")


def special_tokens(tokenizer: Tokenizer) -> dict[int, str]:
    """Ids and texts of tokens that are no text."""
    added = tokenizer.get_added_tokens_decoder()
    return {token: one.content for token, one in added.items() if one.special}


def falls_back_to_bytes(tokenizer: Tokenizer) -> bool:
    """Whether tokens such as `<0xF0>` are bytes."""
    decoder = tokenizer.decoder
    return decoder is not None and b'"ByteFallback"' in decoder.__getstate__()


class Detokenizer:
    """What it tells adds up to `tokenizer.decode` of all tokens, whatever they are.

    Args:
        prompt: what stands before them, which gives the first one its leading space.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int], special: dict[int, str] | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._special = special_tokens(tokenizer) if special is None else special
        self._has_bytes = falls_back_to_bytes(tokenizer)
        self._window = self._context(prompt)
        self._told = len(self._decoded)  # characters of the window's text
        self._run: list[str] = []  # characters of a run of bytes, by the byte that ends each
        self._utf8 = UTF8()
        self._is_text, self._completed = True, False  # the run so far; whether a character ended

    def push(self, token: int) -> str:
        """Take one token; returns the text that is now certain."""
        name = self._tokenizer.id_to_token(token)
        if name is None or token in self._special:
            return ""
        self._window.append(token)
        if (byte := self._byte(name)) is not None:
            self._take_byte(byte)
            return ""
        self._end_run()
        return self._tell(may_be_part=not self._has_bytes)

    def settle(self) -> str:
        """The text that no token was certain of, where none follows, or a run of bytes is text."""
        self._end_run()
        return self._tell(may_be_part=False)

    def unsettled(self, most: int) -> str:
        """The last characters of a run of bytes, where the run has just completed one of them."""
        return "".join(self._run[-most:]) if self._completed else ""

    @property
    def _decoded(self) -> str:
        text: str = self._tokenizer.decode(self._window)
        return text

    def _context(self, prompt: Sequence[int]) -> list[int]:
        """The prompt's last tokens, up to one that leaves nothing open."""
        visible = [token for token in prompt if token not in self._special]
        for end in range(len(visible), 0, -1):
            name = self._tokenizer.id_to_token(visible[end - 1]) or "<0x00>"
            alone = self._tokenizer.decode(visible[end - 1 : end])
            if self._byte(name) is None and not alone.endswith(UNFINISHED):
                return visible[max(end - KEPT, 0) : end]
        return []

    def _byte(self, name: str) -> int | None:
        found = BYTE.fullmatch(name) if self._has_bytes else None
        return int(found[1], 16) if found else None

    def _take_byte(self, byte: int) -> None:
        try:
            character = self._utf8.decode(bytes([byte])) if self._is_text else ""
        except UnicodeDecodeError:
            character, self._is_text = "", False
        self._completed = bool(character)
        self._run.append(character)

    def _end_run(self) -> None:
        if self._run:
            self._run, self._utf8 = [], UTF8()
            self._is_text, self._completed = True, False

    def _tell(self, may_be_part: bool) -> str:
        """What the window says beyond what was told, but for what may be part of a character."""
        text = self._decoded
        held = may_be_part and text.endswith(UNFINISHED)
        end = len(text) - held
        piece, self._told = text[self._told : end], end
        if len(self._window) > LONGEST:
            self._forget(held)
        return piece

    def _forget(self, held: bool) -> None:
        """Keep the last tokens, unless they say nothing: a decoder may strip what comes first."""
        before, self._window = self._window, self._window[-KEPT:]
        if text := self._decoded:
            self._told = len(text) - held
        else:
            self._window = before
