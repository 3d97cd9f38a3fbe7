"""`dynexit chat` through a pipe: turns, commands, and what goes wrong."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

import dynexit as package
from dynexit.cli.chat.commands import Commands
from dynexit.cli.chat.conversation import Conversation
from dynexit.cli.chat.view import View
from dynexit.errors import DynexitError
from dynexit.model.interface import BLOCK

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
COUNT = 12


@pytest.fixture(scope="session")
def chatty(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template."""
    folder = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def lm(chatty: Path) -> package.LanguageModel:
    return package.load(chatty, device="cpu", check=False)


@pytest.fixture
def talk(lm) -> Conversation:
    made = Conversation(lm, {"max_new_tokens": COUNT}, None)
    made.use("auto")
    return made


@pytest.fixture
def piped(dynexit, monkeypatch: pytest.MonkeyPatch):
    """Run `dynexit chat` with lines on standard input."""

    def run(lines: bytes, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        return dynexit("chat", *arguments)

    return run


def answer(talk: Conversation, question: str) -> str:
    stream = talk.ask(question)
    parts = [(chunk.text, chunk.source) for chunk in stream]
    talk.keep(question, parts, stream.output, False)
    return stream.output.text


def reply(lm, messages: list[dict[str, str]]) -> str:
    """Plain decoding's answer to a conversation."""
    ids = lm.tokenizer.encode_chat(messages)
    return lm.generate(ids, "vanilla", max_new_tokens=COUNT).text


def test_a_line_is_a_turn_and_an_answer_knows_those_before_it(piped, chatty: Path, lm) -> None:
    said = [{"role": "system", "content": "Be brief"}]
    expected = []
    for line in ("Hello there", "And then?"):
        said.append({"role": "user", "content": line})
        expected.append(reply(lm, said))
        said.append({"role": "assistant", "content": expected[-1]})
    lines = b"Hello there\r\n\n/method layerskip:exit_layer=3\nAnd then?"
    code, out, err = piped(lines, chatty, "-n", COUNT, "--system", "Be brief")
    assert code == 0
    assert out == "".join(f"{text}\n" for text in expected)
    assert [line.partition(":")[0] for line in err.splitlines()] == ["auto", "method", "layerskip"]


def test_every_method_writes_the_same_answers(lm) -> None:
    texts = set()
    for method in ("vanilla", "auto", "del", "draft-verify"):
        talk = Conversation(lm, {"max_new_tokens": COUNT}, None)
        talk.use(method)
        texts.add((answer(talk, "One"), answer(talk, "Two")))
    assert len(texts) == 1


def test_what_a_method_learns_stays_from_turn_to_turn(talk: Conversation) -> None:
    assert talk.controller.carry
    controller = talk.controller
    answer(talk, "One")
    answer(talk, "Two")
    assert talk.controller is controller


def test_a_turn_reads_only_what_is_new_whatever_its_method(talk: Conversation) -> None:
    answer(talk, "One " * 40)
    read = talk.length
    talk.use("vanilla")
    answer(talk, "Two")
    turn = talk.turns[-1]
    assert read - BLOCK <= turn.output.stats.cached_tokens < turn.asked


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (b"/metod del\n", "there is no command '/metod': is /method meant?"),
        (b"/method dell\n", "method 'dell' is not known"),
        (b"/method two-model\n", "drafts with a second model"),
        (b"/reset all\n", "/reset takes no argument"),
        (b"/save\n", "/save needs a file"),
        (b"/save /no/where/a.md\n", "cannot write /no/where/a.md: "),
        (b"caf\xe9\n", "cannot read standard input: it is not UTF-8 text."),
        (b"w1 " * 4000, "shorten the message, or /save the conversation and /reset it."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(piped, chatty: Path, lines: bytes, words: str) -> None:
    code, out, err = piped(lines, chatty, "-n", COUNT)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bundled",), "bundled has no chat template"),
        (("bundled", "-n", 0), "max_new_tokens is 0"),
        (("bundled", "--temperature", -1), "temperature is -1.0"),
        (("bundled", "--method", "nothing"), "method 'nothing' is not known"),
        ((), "no chat model was found: name one"),
    ],
)
def test_what_cannot_be_a_chat_is_told(piped, monkeypatch, arguments, words: str) -> None:
    monkeypatch.setenv("DYNEXIT_SMOLLM2", "/no/such/file.gguf")
    code, out, err = piped(b"Hello\n", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_a_full_context_keeps_the_conversation(talk: Conversation) -> None:
    first = answer(talk, "Hello")
    with pytest.raises(DynexitError, match="the context holds"):
        talk.ask("w1 " * talk.room)
    assert [message["content"] for message in talk.messages] == ["Hello", first]
    assert answer(talk, "Still there?")


def test_commands_change_and_save_the_conversation(talk, lm, tmp_path: Path, capsys) -> None:
    commands, file = Commands(talk), tmp_path / "chat.json"
    first = answer(talk, "Hello")
    commands.run("/system Be brief")
    commands.run(f"/save {file}")
    kept = json.loads(file.read_text())
    assert [message["content"] for message in kept["messages"]] == ["Be brief", "Hello", first]
    commands.run(f"/save {file}")  # its own file
    with pytest.raises(DynexitError, match="already"):
        Commands(talk).run(f"/save {file}")
    commands.run(f"/save {tmp_path / 'chat.md'}")
    assert f"## You\n\nHello\n\n## model\n\n{first}\n" in (tmp_path / "chat.md").read_text()
    commands.run("/stats")
    out, _ = capsys.readouterr()
    assert "auto" in out
    commands.run("/method early-exit:exit_layer=3")
    assert "lossy" in capsys.readouterr().err
    commands.run("/reset")
    commands.run("/system -")
    assert talk.messages == []
    with pytest.raises(EOFError):
        commands.run("/quit")


MARKDOWN = (
    "# Title\n\nSome *words* here.\n\n"
    "```python\nfor i in range(3):\n    print(i)\n```\n\n- one\n- two\n\nThe end.\n"
)


def shown(parts: list[str], coloured: bool = False) -> str:
    """What a terminal's scrollback holds of an answer, each line once."""
    console = Console(file=io.StringIO(), width=60, highlight=False, markup=False, emoji=False)
    view = View(console)
    view.coloured = coloured
    with view.answer():
        for part in parts:
            view.add((part, "target"))
            view._drawn = 0.0  # draw every time
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_markdown_is_whole_however_it_streams() -> None:
    whole, streamed = shown([MARKDOWN]), shown(list(MARKDOWN))
    assert [line for line in streamed.split("\n") if line] == [
        line for line in whole.split("\n") if line
    ]
    assert "    print(i)" in whole
    assert "```" not in whole


def test_coloured_text_is_the_text_itself() -> None:
    assert shown(list(MARKDOWN), coloured=True) == MARKDOWN.rstrip()


@pytest.mark.parametrize("coloured", [False, True])
def test_a_model_cannot_command_the_terminal(coloured: bool) -> None:
    told = shown(["a\x1b[2Jb\x07\x9b31m\r [x](http://y.z) \u202e"], coloured)
    assert not set("\x1b\x07\x9b\r") & set(told)
    assert "http://y.z" in told  # a link shows where it leads
