"""Servers for tests, on the model that comes along."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import openai
import pytest
from browsing import visit, watched
from running import METHOD, Running, Unhurried

import dynexit
from dynexit.serve.settings import Settings


@pytest.fixture(scope="session")
def lm() -> dynexit.LanguageModel:
    """The model that comes along, in the default runtime."""
    return dynexit.load(device="cpu", check=False)


@pytest.fixture(scope="session")
def unhurried(lm) -> dynexit.LanguageModel:
    """The same, slow enough on any machine: the text of `LONG` takes seconds."""
    return dynexit.LanguageModel(Unhurried(lm.model), lm.tokenizer, lm.eos, lm.name, lm.folder)


@pytest.fixture(scope="session")
def serving(lm):
    """Start servers with settings of a test's own."""

    @contextmanager
    def start(model=None, **settings) -> Iterator[Running]:
        with Running(model or lm, Settings(**{"method": METHOD, "grace": 5.0, **settings})) as it:
            yield it

    return start


@pytest.fixture(scope="session")
def server(serving) -> Iterator[Running]:
    """A server with default limits, for tests that leave it as it was."""
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def client(server) -> openai.OpenAI:
    return server.client()


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "chrome")
    with sync_api.sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(
                executable_path=next(filter(None, map(shutil.which, names)), None),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
        except sync_api.Error as error:
            pytest.skip(f"there is no Chromium here: {error.message.splitlines()[0]}")
        yield launched
        launched.close()


@pytest.fixture
def bare(browser):
    """A page where requests may fail."""
    opened = browser.new_page()
    yield opened
    opened.close()


@pytest.fixture
def page(browser, server):
    """The page of a server with default limits, on which nothing goes wrong."""
    opened = browser.new_page()
    problems = watched(opened, server)
    visit(opened, server)
    yield opened
    opened.close()
    assert problems == []
