"""Chat templates are programs of somebody else's: they loop, fail, and others go on."""

import json
import threading
import urllib.request
from pathlib import Path

import psutil
import pytest
from chat_models import TEMPLATE, chat_model
from test_refusals import send

from dynexit import DynexitError

FINE = [{"role": "user", "content": "Say something."}]
ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    *(
        pytest.param(template, marks=pytest.mark.slow)
        for template in (
            "{{ 9 ** (9 ** 9) }}",  # one operation, which no thread can interrupt
            "{% set all = ['x' * 900000000, 'y' * 900000000] %}{{ all | length }}",
            "{% for i in range(99999) %}{{ 'words ' * 99999 }}{% endfor %}",
        )
    ),
]


@pytest.fixture(scope="module")
def chatting(serving, tmp_path_factory):
    with serving(chat_model(tmp_path_factory.mktemp("chat")), name="chatty") as running:
        yield running


@pytest.fixture
def template(chatting, monkeypatch):
    """Replace the served model's template: (template)."""
    loaded = chatting.service.lm.tokenizer.loaded
    return lambda text: monkeypatch.setattr(loaded, "chat_template", text)


def chat(server, messages):
    asked = {"model": "chatty", "messages": messages, "max_tokens": 2}
    return send(server, asked, "/v1/chat/completions")


def workers():
    return [child for child in psutil.Process().children() if "chat_worker" in str(child.cmdline())]


@pytest.mark.parametrize("endless", ENDLESS)
def test_a_template_without_end_ends_alone(chatting, template, monkeypatch, endless):
    assert chat(chatting, FINE)[0] == 200
    before = workers()
    template(endless)
    monkeypatch.setattr(chatting.service.chats, "seconds", 1.0)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(chat(chatting, FINE)))
    waiting.start()
    assert json.load(urllib.request.urlopen(f"{chatting.url}/health"))["status"] == "ok"
    waiting.join(timeout=60)
    status, answer = answers[0]
    assert status == 400
    assert "chat template" in answer["error"]["message"]
    monkeypatch.setattr(chatting.service.chats, "seconds", 60.0)
    template(TEMPLATE)
    assert chat(chatting, FINE)[0] == 200
    assert len(before) == len(workers()) == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for m in messages %}{{ m.role }}", "Unexpected end of template"),
        ("{{ messages[0].nothing.at_all }}", "'dict object' has no attribute 'nothing'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth"),
        ("{{ raise_exception('long ' * 9999) }}", "long long long"),
        ("{{ raise_exception('') }}", "TemplateError"),
    ],
)
def test_a_template_that_fails_is_one_sentence(chatting, template, wrong, sentence):
    template(wrong)
    status, answer = chat(chatting, FINE)
    assert (status, answer["error"]["param"]) == (400, "messages")
    told = answer["error"]["message"]
    assert told.startswith("this checkpoint's chat template cannot write these messages: ")
    assert sentence in told
    assert len(told) < 500
    with pytest.raises(DynexitError) as error:
        chatting.service.lm.generate(FINE[0]["content"], chat=True)
    assert sentence in str(error.value)


def test_a_template_that_fails_on_the_command_line(tmp_path, dynexit):
    chat_model(tmp_path, "{% for m in messages %}")
    code, _, err = dynexit("generate", "Hello", "--chat", "--model", tmp_path)
    assert code == 2
    assert "chat template cannot write these messages: Unexpected end of template" in err
    assert err.count("\n") <= 2  # a warning may stand before it


def test_a_conversation_is_not_read_in_the_server_itself(chatting, monkeypatch):
    monkeypatch.setattr(chatting.service.lm.tokenizer, "loaded", NotToBeCalled())
    status, answer = chat(chatting, [{"role": "user", "content": "x " * 400_000}])
    assert status == 400
    assert "the model's context holds 2048" in answer["error"]["message"]


class NotToBeCalled:
    """A tokenizer that knows its template and nothing else."""

    chat_template = TEMPLATE


def test_the_process_knows_no_key_and_ends_with_its_server(serving, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNEXIT_API_KEY", "secret-key")
    before = workers()
    with serving(chat_model(tmp_path), name="chatty") as server:
        assert chat(server, FINE)[0] == 200
        (worker,) = (worker for worker in workers() if worker not in before)
        assert b"secret-key" not in Path(f"/proc/{worker.pid}/environ").read_bytes()
    assert not worker.is_running()
