"""The chat's two loops: with a person at a terminal, and along the lines of a pipe."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

from dynexit.cli.chat.commands import Commands
from dynexit.cli.chat.conversation import Conversation, Part, Turn
from dynexit.cli.chat.keyboard import Box, Keys, keys_as_typed
from dynexit.cli.chat.view import View
from dynexit.cli.generate import summary
from dynexit.cli.printing import note, notes, write
from dynexit.errors import INTERRUPTED, DynexitError, reason
from dynexit.methods import lossless_methods


def run(talk: Conversation) -> None:
    """Until there are no more questions."""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        with keys_as_typed():
            _converse(talk)
    else:
        _read_lines(talk)


def _converse(talk: Conversation) -> None:
    """Until the person leaves."""
    view, commands = View(), Commands(talk)
    second = talk.options["draft_model"]
    methods = lossless_methods(talk.lm.num_layers, None if second is None else second.kind)
    box = Box(commands.known, methods, lambda: _status(talk), view.toggle)
    notes.print(
        f"{talk.name}, {talk.lm.model.runtime_name}; /help names commands and keys", style="dim"
    )
    typed = ""
    while True:
        try:
            line = box.read(typed)
            typed = ""
            if line.startswith("/"):
                commands.run(line)
            elif line.strip():
                typed = _answer(talk, view, line)
        except KeyboardInterrupt:
            notes.print("Ctrl-D or /quit leaves", style="dim")
        except EOFError:
            return
        except DynexitError as error:
            note("error:", "red", str(error))


def _status(talk: Conversation) -> str:
    method = Path(talk.method).name  # of a file, too
    return f" /help | {method} | context {talk.length} of {talk.room} | {talk.name} "


def _answer(talk: Conversation, view: View, question: str) -> str:
    """Show an answer while it is written; returns what was typed meanwhile."""
    stream, parts = talk.ask(question), list[Part]()
    keys = Keys()
    with view.answer(), _stopping(parts) as stop:
        for chunk in stream:
            parts.append((chunk.text, chunk.source))
            view.add(parts[-1])
            if keys.recoloured():
                view.toggle()
            if stop:
                break
        if keys.recoloured():  # after the last part
            view.toggle()
    if not parts:
        notes.print("stopped before the first token", style="dim")
    else:
        turn = talk.keep(question, parts, stream.output, bool(stop))
        told = summary(turn.output, turn.method, turn.stopped)
        notes.print(told, style="dim", soft_wrap=False)
        _tell_of_end(talk, turn)
    notes.print()
    return keys.text


@contextmanager
def _stopping(parts: list[Part]) -> Iterator[list[bool]]:
    """Ctrl-C fills the list; where no part is there yet, it interrupts the reading of the prompt.

    A KeyboardInterrupt would come anywhere, in the midst of drawing, too.
    """
    pressed: list[bool] = []

    def press(number: int, frame: FrameType | None) -> None:
        del number, frame
        waited = bool(pressed) or not parts
        pressed.append(True)
        if waited:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, before)


def _tell_of_end(talk: Conversation, turn: Turn) -> None:
    if turn.output.finish_reason == "context":
        notes.print(
            f"the context of {talk.room} tokens is full: /save keeps the conversation, /reset "
            "begins anew",
            style="yellow",
        )


def _read_lines(talk: Conversation) -> None:
    """Answer every line of standard input, in plain text."""
    commands = Commands(talk)
    try:
        for line in _lines():
            if line.startswith("/"):
                commands.run(line)
            elif line.strip():
                _write_answer(talk, line)
    except EOFError:
        return
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _lines() -> Iterator[str]:
    """Of standard input, without what ends them."""
    try:
        for line in sys.stdin.buffer if sys.stdin is not None else ():
            yield line.decode("utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DynexitError(f"cannot read standard input: {reason(error)}.") from error


def _write_answer(talk: Conversation, question: str) -> None:
    stream, parts = talk.ask(question), list[Part]()
    try:
        for chunk in stream:
            parts.append((chunk.text, chunk.source))
            write(chunk.text)
    finally:
        write("\n")
    turn = talk.keep(question, parts, stream.output, False)
    notes.print(summary(turn.output, turn.method))
    _tell_of_end(talk, turn)
