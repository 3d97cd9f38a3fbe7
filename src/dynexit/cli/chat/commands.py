"""What a line that begins with a slash does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from dynexit.asking import meant
from dynexit.cli.chat.conversation import Conversation
from dynexit.cli.printing import notes, print_table
from dynexit.errors import DynexitError
from dynexit.model.files import replacing

KEYS = {
    "Enter": "send; Alt-Enter or Ctrl-J begins a new line",
    "Ctrl-O": "colour answers by where their tokens came from, or show them as Markdown",
    "Ctrl-C": "stop an answer; the conversation goes on",
    "Ctrl-D": "leave",
    "space /...": "a message that begins with a slash",
}


class Command(NamedTuple):
    """A command: its argument in words, what it does, and the function that runs."""

    takes: str
    does: str
    run: Callable[[str], None]


class Commands:
    """Commands of one conversation. A reply is a line on standard error, apart from /stats."""

    def __init__(self, chat: Conversation) -> None:
        self._chat = chat
        self._saved: set[Path] = set()
        self.known = {
            "/reset": Command("", "forget all turns", self._reset),
            "/system": Command("[TEXT]", "show or set the system prompt; - is none", self._system),
            "/method": Command("[NAME]", "show or change how answers are decoded", self._method),
            "/stats": Command("", "what each turn took", self._stats),
            "/save": Command("FILE", "write the conversation: .json, else Markdown", self._save),
            "/help": Command("", "this list", self._help),
            "/quit": Command("", "leave", self._quit),
        }

    def run(self, line: str) -> None:
        """Run a command.

        Raises:
            DynexitError: there is none of this name, or it cannot be done.
            EOFError: it ends the conversation.
        """
        name, _, given = line.strip().partition(" ")
        if (command := self.known.get(name)) is None:
            near = meant(name, self.known)
            hint = f"is {near} meant? " if near else ""
            raise DynexitError(
                f"there is no command {name[:40]!r}: {hint}/help names all, and a space before "
                "the slash makes it text."
            )
        if given.strip() and not command.takes:
            raise DynexitError(f"{name} takes no argument: write {name} alone.")
        command.run(given.strip())

    def _reset(self, _: str) -> None:
        self._chat.reset()
        notes.print("all turns are forgotten")

    def _system(self, text: str) -> None:
        if text:
            self._chat.system = None if text == "-" else text
        notes.print(f"system prompt: {self._chat.system or 'the chat template has its own'}")

    def _method(self, name: str) -> None:
        if name:
            self._chat.use(name)
            if not self._chat.controller.lossless:
                notes.print(f"{name} is lossy: its text is not plain decoding's", style="yellow")
        notes.print(f"method: {self._chat.method}")

    def _stats(self, _: str) -> None:
        if self._chat.turns:
            print_table(table_of(self._chat))
        notes.print(f"context: {self._chat.length} of {self._chat.room} tokens")

    def _save(self, given: str) -> None:
        if not given:
            raise DynexitError("/save needs a file: /save chat.md, or /save chat.json.")
        file = Path(given).expanduser()
        if file.exists() and file not in self._saved:
            raise DynexitError(f"{file} exists already: give another name.")
        with replacing(file) as partial:
            partial.write_text(saved(self._chat, file.suffix.lower() == ".json"), "utf-8")
        self._saved.add(file)
        notes.print(f"saved to {file}")

    def _help(self, _: str) -> None:
        for name, command in self.known.items():
            notes.print(f"{f'{name} {command.takes}':16} {command.does}")
        for key, does in KEYS.items():
            notes.print(f"{key:16} {does}")

    def _quit(self, _: str) -> None:
        raise EOFError


def table_of(chat: Conversation) -> Table:
    """One row a turn."""
    table = Table("turn", "method")
    headings = (
        "prompt",
        "from cache",
        "tokens",
        "first after",
        "tok/s",
        "tokens a round",
        "accepted",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for number, turn in enumerate(chat.turns, 1):
        stats = turn.output.stats
        table.add_row(
            str(number),
            Text(turn.method),
            str(turn.asked),
            str(stats.cached_tokens),
            str(len(turn.output.token_ids)),
            f"{stats.prefill_seconds:.2f} s",
            f"{stats.tokens_per_second:.1f}",
            f"{stats.mean_acceptance_length:.2f}",
            f"{stats.acceptance_rate:.0%}" if stats.drafted else "-",
        )
    return table


def saved(chat: Conversation, as_json: bool) -> str:
    """The conversation as a file's text."""
    if as_json:
        kept = {"model": chat.name, "messages": chat.messages}
        return json.dumps(kept, ensure_ascii=False, indent=1) + "\n"
    names = {"system": "System", "user": "You", "assistant": chat.name}
    return "\n\n".join(f"## {names[m['role']]}\n\n{m['content']}" for m in chat.messages) + "\n"
