"""docs/serving.md: its examples run, its tables leave nothing out."""

import dataclasses
import inspect
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from dynexit.cli.serve import serve
from dynexit.serve.schema import ChatRequest, CompletionRequest, OwnOptions
from dynexit.serve.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
REPEATED = {"methods": "allow_method", "hosts": "allowed_host"}  # options of one value each


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_example_runs(lm, server, capsys):
    (code,) = blocks("python")
    exec(compile(code.replace(ADDRESS, server.url), "serving.md", "exec"), {})
    out = capsys.readouterr().out
    prompt = "Question: Tom has 4 boxes of 6 pens. How many pens has he?\nAnswer:"
    assert out.startswith(lm.generate(prompt, max_new_tokens=48, temperature=0.7, seed=7).text)


def test_the_curl_example_runs(lm, server):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    (command,) = (block for block in blocks("") if block.startswith("curl"))
    words = shlex.split(command.replace("\\\n", " ").replace(ADDRESS, server.url))
    told = subprocess.run([*words, "--silent"], capture_output=True, check=True).stdout
    expected = lm.generate("German: Guten Morgen!\nEnglish:", max_new_tokens=16)
    assert json.loads(told)["choices"][0]["text"] == expected.text


def test_every_option_is_described_and_every_setting_is_an_option():
    options = set(inspect.signature(serve).parameters) - {"model"}
    for option in options:
        assert f"--{option.replace('_', '-')}`" in PAGE, option
    settings = {field.name for field in dataclasses.fields(Settings)}
    assert {REPEATED.get(name, name) for name in settings} <= options


def test_defaults_of_options_are_those_of_settings():
    options = inspect.signature(serve).parameters
    for field in dataclasses.fields(Settings):
        if field.name not in ("method", *REPEATED):
            assert options[field.name].default == field.default, field.name


@pytest.mark.parametrize("request_type", [CompletionRequest, ChatRequest, OwnOptions])
def test_every_field_is_described(request_type):
    for name in request_type.model_fields:
        assert f"`{name}" in PAGE or name in ("echo", "best_of"), name
