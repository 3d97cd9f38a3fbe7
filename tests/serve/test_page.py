"""The page in a real browser: what it shows is what the library writes."""

import re
import shutil
import time
import urllib.request

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
COUNT = 16


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(
                executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
            )
        except sync_api.Error as error:
            pytest.skip(f"there is no Chromium here: {error.message.splitlines()[0]}")
        yield launched
        launched.close()


@pytest.fixture
def page(browser, server):
    opened = browser.new_page()
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    opened.on("request", lambda r: None if r.url.startswith(server.url) else problems.append(r.url))
    opened.goto(server.url)
    opened.wait_for_selector("#method option", state="attached")
    yield opened
    opened.close()
    assert problems == []


def run(page, method=None):
    if method:
        page.select_option("#method", method)
    page.fill("#count", str(COUNT))
    page.click("#run")
    page.wait_for_selector("#verdict:not(:empty)", timeout=60_000)


def prompt_of(page):
    return page.input_value("#prompt")


def test_the_text_is_the_librarys_coloured_by_origin(page, lm):
    run(page)
    expected = lm.generate(prompt_of(page), "vanilla", max_new_tokens=COUNT)
    for lane in ("own", "vanilla"):
        tokens = page.locator(f"#{lane} .token").all_text_contents()
        assert "".join(tokens) == expected.text
    assert page.locator("#own .accepted").count() > 0
    assert page.locator("#own .recovered, #own .bonus").count() > 0
    assert page.locator("#vanilla .accepted").count() == 0
    assert "The same text, token for token." in page.text_content("#verdict")
    assert re.search(r"at \d+\.\d\d times the speed", page.text_content("#verdict"))


def test_every_round_has_its_column(page, lm):
    run(page, "del")
    out = lm.generate(prompt_of(page), "del", max_new_tokens=COUNT)
    assert page.text_content("#round-count").startswith(f"{len(out.stats.rounds)} rounds")
    assert page.locator("#drafts rect").count() == 2 * len(out.stats.rounds)
    assert page.locator("#exits rect").count() == sum(r.drafted > 0 for r in out.stats.rounds)


def test_a_token_shows_what_every_layer_predicted(page, lm):
    run(page)
    token = page.locator("#own .token").nth(4)
    token.hover()
    page.wait_for_selector("#layers li")
    layers = page.locator("#layers b").all_text_contents()
    assert len(layers) == lm.num_layers
    shown = token.text_content().replace("\n", "\\n").replace(" ", "·")
    assert layers[-1] == shown
    assert page.locator("#layers li.exit").count() <= 1


def test_the_keyboard_is_enough(page):
    page.fill("#count", "8")
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#verdict:not(:empty)", timeout=60_000)
    page.focus("#own")
    for key, expected in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        token = page.locator("#own .token").nth(expected)
        assert "chosen" in token.get_attribute("class")
    page.wait_for_selector("#layers li")


def test_stop_ends_the_work(page, server):
    page.fill("#count", "1000")
    page.click("#run")
    page.wait_for_selector("#own .token")
    page.click("#run")
    page.wait_for_selector("#run:text('Run')")
    end = time.monotonic() + 60
    while server.engine.running:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_refusal_is_shown_in_words(browser, server):
    page = browser.new_page()
    page.goto(server.url)
    page.wait_for_selector("#method option", state="attached")
    page.fill("#prompt", "x " * 3_000)
    page.click("#run")
    page.wait_for_selector("#error:not(:empty)")
    assert "shorten the prompt" in page.text_content("#error")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser, server, scheme):
    size = {"width": 360, "height": 740}
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(server.url)
    page.wait_for_selector("#method option", state="attached")
    run(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()


def test_a_key_is_asked_for_where_the_server_wants_one(browser, serving):
    with serving(api_key="secret") as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("#keyfield:not([hidden])")
        page.fill("#key", "secret")
        page.keyboard.press("Tab")
        page.wait_for_selector("#method option", state="attached")
        run(page)
        page.close()


def test_the_page_asks_nobody_else(server):
    with urllib.request.urlopen(server.url) as reply:
        html, policy = reply.read().decode(), reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
