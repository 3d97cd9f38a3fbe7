"""What a person types: messages of several lines with a history, and keys during an answer."""

import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import NestedCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from dynexit.cli.printing import note
from dynexit.errors import DynexitError, reason
from dynexit.model.files import make_folder, state_folder

try:
    import termios
except ImportError:  # Windows: no key is read while an answer is written
    termios = None  # type: ignore[assignment]

COLOUR_KEY = "\x0f"  # Ctrl-O


class _Kept(FileHistory):
    """A history whose write errors, such as a full disk, do not end the chat."""

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)


def history() -> History:
    """Messages typed in earlier chats, from a file that only its user may read."""
    file = state_folder() / "chat_history"
    try:
        make_folder(file.parent)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        file.chmod(0o600)
    except (DynexitError, OSError) as error:
        told = error if isinstance(error, DynexitError) else f"cannot write {file}: {reason(error)}"
        note("warning:", "yellow", f"{str(told).rstrip('.')}; what is typed is not kept.")
        return InMemoryHistory()
    return _Kept(str(file))


class Box:
    """The box where messages are typed.

    Args:
        commands, methods: that Tab completes.
        status: what stands below what is typed.
        recolour: what the key of colours does.
    """

    def __init__(
        self,
        commands: Iterable[str],
        methods: Iterable[str],
        status: Callable[[], str],
        recolour: Callable[[], None],
    ) -> None:
        nested = {name: dict.fromkeys(methods) if name == "/method" else None for name in commands}
        self._recolour = recolour
        self._session = PromptSession[str](
            "> ",
            multiline=True,
            prompt_continuation="  ",
            history=history(),
            key_bindings=_keys(),
            completer=NestedCompleter.from_nested_dict(nested),
            complete_while_typing=False,
            bottom_toolbar=status,
        )

    def read(self, typed: str) -> str:
        """The next message, which begins with what was typed before.

        Raises:
            KeyboardInterrupt, EOFError: Ctrl-C or Ctrl-D was pressed.
        """
        app = self._session.app
        while True:
            app.erase_when_done = False
            typed = self._session.prompt(default=typed)
            if not app.erase_when_done:
                return typed
            self._recolour()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-o")
    def _colours(event: KeyPressEvent) -> None:
        event.app.erase_when_done = True
        event.app.exit(result=event.current_buffer.text)

    return keys


@contextmanager
def keys_as_typed() -> Iterator[None]:
    """Between two messages, too, nothing is echoed, and Enter does not become Ctrl-J.

    Ctrl-C stays an interrupt.
    """
    if termios is None:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    mode = termios.tcgetattr(sys.stdin)
    mode[0] &= ~termios.ICRNL
    mode[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    mode[3] |= termios.NOFLSH  # Ctrl-C drops nothing that was typed
    termios.tcsetattr(sys.stdin, termios.TCSANOW, mode)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


class Keys:
    """The keyboard while an answer is written. `text` is what was typed for the next message."""

    def __init__(self) -> None:
        self.text = ""

    def recoloured(self) -> bool:
        """Whether the key of colours was pressed since this was last asked."""
        if termios is None or not select.select([sys.stdin], [], [], 0)[0]:
            return False
        typed = os.read(sys.stdin.fileno(), 4096).decode("utf-8", "ignore").replace("\r", "\n")
        if "\x1b" not in typed:  # arrows and the like
            self.text += "".join(c for c in typed if c.isprintable() or c == "\n")
        return typed.count(COLOUR_KEY) % 2 == 1
