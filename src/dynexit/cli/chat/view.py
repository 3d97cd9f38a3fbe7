"""Answers on a terminal, while they grow: as Markdown, or each token coloured by its origin.

What can no longer change is printed for good and scrolls away; only the rest is drawn anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.text import Text

from dynexit.cli.chat.conversation import Part
from dynexit.cli.generate import COLOURS, LEGEND
from dynexit.cli.printing import screen

SECONDS = 0.1  # between two drawings
CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
CONTROLS[ord("\r")] = ""
_blocks = MarkdownIt().enable("table").enable("strikethrough")  # as rich reads it


class View:
    """The latest answer. `coloured` is how it and those after it are shown."""

    def __init__(self, console: Console | None = None) -> None:
        self.coloured = False
        self._console = console or screen()
        self._parts: list[Part] = []
        self._live: Live | None = None

    @contextmanager
    def answer(self) -> Iterator[None]:
        """An answer is written meanwhile, piece by piece."""
        self._parts, self._printed, self._drawn = [], 0, 0.0
        waiting = Text("...", "dim")
        options = {"console": self._console, "auto_refresh": False, "transient": True}
        try:
            with Live(waiting, vertical_overflow="visible", **options) as self._live:  # type: ignore[arg-type]
                self._live.refresh()
                yield
        finally:
            self._live = None
            self._print(len(self._text))

    def add(self, part: Part) -> None:
        """The next piece."""
        text, source = part
        self._parts.append((text.translate(CONTROLS), source))
        if monotonic() - self._drawn >= SECONDS:
            self._draw()

    def toggle(self) -> None:
        """Show the answer in the other way, from its beginning."""
        self.coloured = not self.coloured
        how = "by where tokens came from" if self.coloured else "as Markdown"
        self._console.print(Text(f"\nanswers are shown {how}", "dim"))
        if self.coloured:
            self._console.print(legend())
        self._printed = 0
        if self._live is None:
            self._print(len(self._text))
        else:
            self._draw()

    @property
    def _text(self) -> str:
        return "".join(text for text, _ in self._parts)

    def _draw(self) -> None:
        assert self._live is not None
        text = self._text
        rest = text[self._printed :]
        self._print(self._printed + (rest.rfind("\n") + 1 if self.coloured else _whole(rest)))
        self._live.update(_Tail(self._piece(self._printed, len(text))), refresh=True)
        self._drawn = monotonic()

    def _print(self, end: int) -> None:
        """Print up to character `end` for good."""
        if end <= self._printed:
            return
        self._console.print(self._piece(self._printed, end))
        if not self.coloured and end < len(self._text):
            self._console.print()  # between two blocks
        self._printed = end

    def _piece(self, start: int, end: int) -> RenderableType:
        if not self.coloured:
            return Markdown(self._text[start:end], hyperlinks=False)
        whole = Text.assemble(*((text, COLOURS[source]) for text, source in self._parts))
        piece = whole[start:end]
        piece.rstrip()
        return piece


class _Tail:
    """As many of the last lines as the terminal has room for."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._inner, options, pad=False)
        for line in lines[-max(console.height - 2, 1) :]:
            yield from line
            yield Segment.line()


def _whole(text: str) -> int:
    """Characters of the blocks that no later text can change: all but the last one."""
    starts = [token.map[0] for token in _blocks.parse(text) if token.level == 0 and token.map]
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: starts[-1]])) if starts else 0


def legend() -> Text:
    """What the colours mean."""
    named = ((words, COLOURS[name]) for name, words in LEGEND.items())
    parts: list[str | tuple[str, str]] = []
    for words in named:
        parts += [words, " / "]
    return Text.assemble(*parts, "plain step")
