"""Options and markers that every test shares."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dynexit.synth import synthesise


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests marked slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        _thin(config, items)
    reasons = {}
    if not config.getoption("--slow"):
        reasons["slow"] = "takes more than a few seconds: run with --slow"
    if not torch.cuda.is_available():
        reasons["gpu"] = "needs a CUDA device, and there is none here"
    if any(item.get_closest_marker("gguf_tokenizer") for item in items):
        from dynexit.model.gguf.tokens import OLDEST, reads_gguf

        if not reads_gguf():
            reasons["gguf_tokenizer"] = f"needs transformers {OLDEST}"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _thin(config, items):
    """Leave out cases of thinned tests: on diagonals, so that each value of a parameter runs."""
    cases, kept, left_out = Counter(), [], []
    for item in items:
        mark, case = item.get_closest_marker("thinned"), cases[item.function]
        cases[item.function] += 1
        stays = mark is None or not (case + case // mark.args[0]) % mark.args[0]
        (kept if stays else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is measured here is kept here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYNEXIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in Hugging Face format whose early exits mostly agree with its last layer."""
    folder = tmp_path_factory.mktemp("synth") / "tiny"
    synthesise(folder, "tiny", {3: 0.8, 6: 0.95}, torch.float32)
    return folder


@pytest.fixture
def dynexit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line in this process: (exit code, standard output, standard error)."""

    from dynexit.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dynexit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run
