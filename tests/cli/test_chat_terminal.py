"""`dynexit chat` in a pseudo-terminal, as a person sees and types it."""

import os
import stat
from pathlib import Path

import pytest
from test_talking import chatty  # noqa: F401  # a fixture

from dynexit.model.native.binding import runtimes
from dynexit.model.places import CHAT_MODEL, find_chat_model

pytest.importorskip("pyte")
from terminal import Terminal

SLOW = """
import time
import dynexit

class Slow(dynexit.Controller):
    lossless = True

    def plan(self):
        time.sleep(0.1)
        return dynexit.Plan()
"""
READY = " /help |"


def test_a_conversation(chatty: Path, tmp_path: Path) -> None:  # noqa: F811
    method = tmp_path / "slow.py"
    method.write_text(SLOW)
    state = tmp_path / "state"
    command = ("chat", chatty, "-n", 300, "--method", f"{method}:Slow")
    with Terminal(*command, XDG_STATE_HOME=str(state)) as terminal:
        terminal.wait(READY)
        terminal.type("Hello\nthere\r")  # Ctrl-J, then Enter
        terminal.wait(READY, absent=True)
        terminal.wait("w", absent=False)
        terminal.type("next")
        terminal.type("\x03")
        assert "(interrupted)" in terminal.wait("(interrupted)")
        terminal.wait("> next")  # what was typed meanwhile
        terminal.type("\x15/method layerskip\r")
        terminal.wait("method: layerskip")
        terminal.type("And now?\r")
        terminal.wait("300 tokens")
        terminal.wait(READY)
        terminal.type("\x0f/stats\r/nothing\r")  # ahead of the screen
        terminal.wait("accepted draft / looked up")
        terminal.wait("tokens a round")
        terminal.wait("there is no command '/nothing'")
        terminal.type("\x03")
        terminal.wait("Ctrl-D or /quit leaves")
        terminal.type("\x04")
        assert terminal.end() == 0
    history = state / "dynexit" / "chat_history"
    assert stat.S_IMODE(os.stat(history).st_mode) == 0o600
    assert "+Hello\n+there\n" in history.read_text()


@pytest.mark.slow
@pytest.mark.gguf_tokenizer
@pytest.mark.skipif(find_chat_model() is None, reason=f"needs {CHAT_MODEL}, which is not at hand")
@pytest.mark.skipif(not runtimes(), reason="needs the native library")
def test_a_chat_model_answers_in_markdown_and_in_colours(tmp_path: Path) -> None:
    with Terminal("chat", "--system", "You are brief.", XDG_STATE_HOME=str(tmp_path)) as terminal:
        terminal.wait(READY)
        terminal.type("Write a Python function that adds two numbers.\r")
        screen = terminal.wait("tok/s")
        assert "def add" in screen
        assert "```" not in screen
        assert terminal.colour_of("def add") not in ("default", "white")
        terminal.wait(READY)
        terminal.type("\x0f")
        terminal.wait("plain step")
        terminal.wait("```")
        terminal.type("/quit\r")
        assert terminal.end() == 0
