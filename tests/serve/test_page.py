"""The page in a real browser: what it shows is what the library writes."""

import json
import random
import re
import time
import urllib.error
import urllib.request
from statistics import median

import pytest
from browsing import adjust, visit

from dynexit import comparing

COUNT = 16


def run(page, method=None, count=COUNT):
    adjust(page, count=count, **({"method": method} if method else {}))
    page.click("#run")
    finish(page)


def finish(page):
    page.wait_for_selector("#verdict:not(:empty)", timeout=60_000)
    page.wait_for_selector("#run:text('Run')", timeout=60_000)


def prompt_of(page):
    return page.input_value("#prompt")


def refuse(page):
    page.fill("#prompt", "x " * 3_000)
    page.click("#run")
    page.wait_for_selector("#error:not(:empty)")


def test_the_text_is_the_librarys_coloured_by_origin(page, lm):
    run(page)
    expected = lm.generate(prompt_of(page), "vanilla", max_new_tokens=COUNT)
    for lane in (".answer", "#vanilla"):
        tokens = page.locator(f"{lane} .token").all_text_contents()
        assert "".join(tokens) == expected.text
    assert page.locator(".answer .accepted").count() > 0
    assert page.locator(".answer .recovered, .answer .bonus").count() > 0
    assert page.locator("#vanilla .accepted").count() == 0
    assert "The same text, token for token." in page.text_content("#verdict")
    assert re.search(r"\d\.\d\d times as fast as plain decoding", page.text_content("#verdict"))


def test_every_round_has_its_column(page, lm):
    run(page, "del")
    out = lm.generate(prompt_of(page), "del", max_new_tokens=COUNT)
    assert page.text_content("#round-count").startswith(f"{len(out.stats.rounds)} rounds")
    assert page.locator("#drafts rect").count() == 2 * len(out.stats.rounds)
    assert page.locator("#exits rect").count() == sum(r.drafted > 0 for r in out.stats.rounds)


def test_a_token_shows_what_every_layer_predicted(page, lm):
    run(page)
    token = page.locator(".answer .token").nth(4)
    token.hover()
    page.wait_for_selector("#layers li")
    layers = page.locator("#layers b").all_text_contents()
    assert len(layers) == lm.num_layers
    shown = token.text_content().replace("\n", "\\n").replace(" ", "·")
    assert layers[-1] == shown
    assert page.locator("#layers li.exit").count() <= 1


def test_the_keyboard_is_enough(page):
    adjust(page, count=8)
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#verdict:not(:empty)", timeout=60_000)
    page.focus(".answer .text")
    for key, expected in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        token = page.locator(".answer .token").nth(expected)
        assert "chosen" in token.get_attribute("class")
    page.wait_for_selector("#layers li")


def test_stop_ends_the_work(page, server):
    adjust(page, count=1000)
    page.click("#run")
    page.wait_for_selector(".answer .token")
    page.click("#run")
    page.wait_for_selector("#run:text('Run')")
    end = time.monotonic() + 60
    while server.engine.running:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_stop_works_whatever_the_form_holds(page):
    adjust(page, count=1000)
    page.click("#run")
    page.wait_for_selector(".answer .token")
    page.fill("#prompt", "")
    page.click("#run")
    page.wait_for_selector("#run:text('Run')")
    assert page.text_content("#error") == ""


def test_a_refusal_is_one_sentence_and_leaves_nothing_of_the_text_before(bare, server):
    visit(bare, server)
    run(bare)
    bare.locator(".answer .token").nth(4).hover()
    bare.wait_for_selector("#layers li")
    refuse(bare)
    assert "shorten the prompt" in bare.text_content("#error")
    assert bare.text_content("#error")[0].isupper()
    assert bare.evaluate("document.getElementById('own-bar').getBoundingClientRect().width") == 0
    assert bare.locator(".answer").count() == 0
    for emptied in ("own-counts", "vanilla", "verdict", "timing", "layers", "round-count"):
        assert bare.text_content(f"#{emptied}") == ""
    assert bare.is_hidden("#rounds")


def test_a_new_run_forgets_the_token_that_was_pointed_at(page):
    at_first = page.text_content("#token-about")
    run(page)
    page.locator(".answer .token").nth(4).hover()
    page.wait_for_selector("#layers li")
    assert page.text_content("#token-about") != at_first
    adjust(page, count=8)
    page.focus("#prompt")
    page.mouse.move(0, 0)
    page.keyboard.press("Control+Enter")
    finish(page)
    assert page.text_content("#token-about") == at_first
    assert page.text_content("#token-name") == "A token"
    assert page.locator("#layers li").count() == 0


def test_a_fresh_page_says_what_to_do(page):
    assert "Every token has the colour of where it came from" in page.inner_text("#welcome")
    assert page.is_hidden("#rounds")
    assert "Point at a token" in page.text_content("#token-about")


LOOKS_UP = """
import dynexit

class LooksUp(dynexit.Controller):
    drafters, proposers, depth = ("sources",), ("lookup",), 0

    def consider(self, offer):
        offer.grow((0.9,) * len(offer.priors[0]), (0.1,) * 6)
        self.depth = offer.depth

    def plan(self):
        return dynexit.Plan(0, self.depth, drafter="sources")
"""


def test_rounds_that_look_up_are_told_in_words(bare, serving, tmp_path):
    file = tmp_path / "looking.py"
    file.write_text(LOOKS_UP)
    with serving(method=f"{file}:LooksUp") as server:
        visit(bare, server)
        bare.fill("#prompt", "one two three four five six seven eight nine ten\n" * 6)
        run(bare, count=40)
        bare.locator(".answer .token.lookup").first.hover()
        assert "Proposed without a pass," in bare.text_content("#token-about")
        assert re.fullmatch("(mostly )?(no exit|plain)", bare.text_content("#exit-now"))
        drawn = {rect.get_attribute("fill") for rect in bare.locator("#exits rect").all()}
        assert drawn == {"var(--lookup)"}


def test_the_last_number_of_speed_is_of_the_whole_run(page):
    run(page, "del")
    assert float(page.text_content("#speed-now")) > 0


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("prompt", "", "The prompt is empty: write some text to go on from."),
        ("temperature", "-1", "Temperature must be a number from 0 to 2."),
        ("count", "0", "Tokens must be a whole number from 1 to 4096."),
    ],
)
def test_a_field_that_is_wrong_is_told_in_words(page, field, value, sentence):
    if field == "prompt":
        page.fill("#prompt", value)
    else:
        adjust(page, **{field: value})
    page.click("#run")
    page.wait_for_selector("#error:not(:empty)")
    assert page.text_content("#error") == sentence


def test_any_temperature_is_taken(page, lm):
    adjust(page, temperature=0.85)
    run(page, "del")
    expected = lm.generate(
        prompt_of(page), "vanilla", max_new_tokens=COUNT, temperature=0.85, seed=1
    )
    assert "".join(page.locator(".answer .token").all_text_contents()) == expected.text
    assert "The same text" in page.text_content("#verdict")


def test_the_verdict_is_the_ratio_of_medians_of_runs_in_turn(page):
    told = []

    def keep(reply):
        asked = json.loads(reply.request.post_data or "{}")
        if reply.url.endswith("/v1/completions") and not asked.get("stream"):
            speed = reply.json()["dynexit"]["tokens_per_second"]
            told.append((asked["dynexit"]["method"], speed))

    page.on("response", keep)
    run(page, "del")
    page.wait_for_timeout(0)  # the last reply is heard of, too
    assert [method for method, _ in told] == ["del", "vanilla"] * comparing.REPEATS
    speeds = [float(f"{median(s for m, s in told if m == one):.4g}") for one in ("del", "vanilla")]
    ratio, ours, plain = re.search(
        r"([\d.]+) times as fast as plain decoding: ([\d.]+) against ([\d.]+) tokens/s, "
        rf"medians of {comparing.REPEATS} runs of each",
        page.text_content("#verdict"),
    ).groups()
    assert [float(ours), float(plain)] == speeds
    assert ratio == f"{speeds[0] / speeds[1]:.2f}"
    for lane, speed in (("own", ours), ("vanilla", plain)):
        assert page.text_content(f"#{lane}-counts") == (
            f"{COUNT} tokens · {speed} tokens/s (median)"
        )


def test_the_page_counts_as_the_library_does(page):
    drawn = random.Random(0)
    runs = [[drawn.lognormvariate(4, 3) for _ in range(drawn.randint(1, 6))] for _ in range(200)]
    told = page.evaluate(
        """async runs => {
            const {REPEATS, medianSpeed, shownSpeed, speedup} = await import("/page/speed.js");
            const speeds = runs.map(medianSpeed);
            return [REPEATS, speeds, speeds.map(shownSpeed), speedup(3, 2), speedup(0, 2)];
        }""",
        runs,
    )
    speeds = [comparing.rounded_speed(median(one)) for one in runs]
    shown = [comparing.shown_speed(speed) for speed in speeds]
    assert told == [comparing.REPEATS, pytest.approx(speeds, rel=1e-3), shown, 1.5, None]


@pytest.mark.parametrize(
    ("count", "said"), [(4, "So short a text says little of speed."), (1, "no speed to compare")]
)
def test_short_texts_are_judged_with_care(page, count, said):
    run(page, "del", count)
    assert said in page.text_content("#verdict")
    assert "NaN" not in page.text_content("#results")
    assert "Infinity" not in page.text_content("#results")
    assert page.text_content("#vanilla-counts").startswith("1 token" if count == 1 else "4 tokens")


def test_plain_decoding_is_asked_what_the_method_was_asked(page):
    asked = []
    page.on("request", lambda r: asked.append(json.loads(r.post_data)) if r.post_data else None)
    adjust(page, count=COUNT)
    page.click("#run")
    page.wait_for_selector(".answer .token")
    page.fill("#prompt", "Something else")
    adjust(page, temperature=1.5)
    finish(page)
    written = [one for one in asked if "prompt" in one]
    assert len(written) == 2 + 2 * comparing.REPEATS
    assert len({(one["prompt"], one["temperature"]) for one in written}) == 1


def test_a_connection_that_breaks_is_told_in_words(bare, server):
    visit(bare, server)
    adjust(bare, count=1000)
    bare.click("#run")
    bare.wait_for_selector(".answer .token")
    bare.context.set_offline(True)
    bare.wait_for_selector("#error:not(:empty)")
    words = "The server cannot be reached: is it still running?"
    assert bare.text_content("#error") == words
    adjust(bare, count=8)
    bare.click("#run")
    bare.wait_for_selector("#run:text('Run')")
    assert bare.text_content("#error") == words
    bare.context.set_offline(False)
    run(bare)
    assert bare.text_content("#error") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser, server, scheme):
    size = {"width": 360, "height": 740}
    page = browser.new_page(viewport=size, color_scheme=scheme)
    visit(page, server)
    run(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()


def test_a_key_is_asked_for_and_remembered(bare, serving):
    with serving(api_key="secret") as server:
        bare.goto(server.url)
        bare.wait_for_selector("#keyform:not([hidden])")
        assert bare.text_content("#keywords") == "This server asks for a key."
        assert bare.text_content("#error") == ""
        assert bare.is_hidden("#form")
        bare.fill("#key", "wrong")
        bare.keyboard.press("Enter")
        bare.wait_for_selector("#keywords:text('does not take this key')")
        bare.fill("#key", "secret")
        bare.click("#keyform button")
        bare.wait_for_selector("#method option", state="attached")
        assert bare.is_hidden("#keyform")
        bare.reload()
        bare.wait_for_selector("#method option", state="attached")
        assert bare.is_hidden("#keyform")
        run(bare)
        server.service.settings.__dict__["api_key"] = "another"
        bare.click("#run")
        bare.wait_for_selector("#keyform:not([hidden])")
        assert bare.text_content("#error") == ""


def test_the_page_asks_nobody_else(server):
    with urllib.request.urlopen(server.url) as reply:
        html, policy = reply.read().decode(), reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server.url}/page/nothing.js")
