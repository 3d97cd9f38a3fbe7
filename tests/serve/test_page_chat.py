"""The page as a chat, in a real browser."""

import re
import time
import urllib.request
from pathlib import Path

import pytest
from browsing import adjust, visit, watched
from chat_models import chat_model
from running import Unhurried

import dynexit
from dynexit.serve.routes.page import FOLDER

COUNT = 24


@pytest.fixture(scope="module")
def chatty(tmp_path_factory) -> dynexit.LanguageModel:
    return chat_model(tmp_path_factory.mktemp("chatty"))


@pytest.fixture(scope="module")
def chat_server(chatty, serving):
    with serving(chatty) as running:
        yield running


@pytest.fixture
def page(browser, chat_server):
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    problems = watched(opened, chat_server)
    visit(opened, chat_server)
    yield opened
    opened.close()
    assert problems == []


def say(page, text, count=COUNT):
    adjust(page, count=count)
    page.fill("#prompt", text)
    page.keyboard.press("Enter")
    answered(page)


def answered(page):
    page.wait_for_selector("#run:text('Send')", timeout=60_000)


def shown(page) -> list[str]:
    """Answers without spaces, which Markdown may change."""
    texts = page.locator(".answer .text").all_text_contents()
    return ["".join(text.replace("Copy code", "").split()) for text in texts]


def reply(lm, messages) -> str:
    ids = lm.tokenizer.encode_chat(messages)
    return lm.generate(ids, "vanilla", max_new_tokens=COUNT).text


def test_an_answer_knows_the_turns_before_it(page, chatty):
    said = [{"role": "system", "content": "Be brief."}]
    adjust(page, system="Be brief.")
    for question in ("Hello there", "And then?"):
        say(page, question)
        said.append({"role": "user", "content": question})
        said.append({"role": "assistant", "content": reply(chatty, said)})
    answers = [message["content"] for message in said if message["role"] == "assistant"]
    assert page.locator(".question").all_text_contents() == ["Hello there", "And then?"]
    assert shown(page) == ["".join(answer.split()) for answer in answers]
    assert page.locator(".answer .token.accepted").count() > 0
    assert re.search(r"\d+ tokens · [\d.]+ tokens/s", page.text_content(".answer footer"))


def test_shift_and_enter_begins_a_line(page):
    adjust(page, count=4)
    page.fill("#prompt", "one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    answered(page)
    assert page.text_content(".question") == "one\ntwo"
    assert page.input_value("#prompt") == ""


def test_the_chat_outlasts_a_reload(page, chatty):
    """With its colours, counts and rounds; a new chat is forgotten."""
    adjust(page, system="Be brief.")
    say(page, "Hello there")
    before = shown(page), page.text_content(".answer footer .counts")
    coloured = page.locator(".answer .token.accepted").count()
    page.reload()
    page.wait_for_selector(".answer .token")
    assert (shown(page), page.text_content(".answer footer .counts")) == before
    assert page.locator(".answer .token.accepted").count() == coloured > 0
    say(page, "And then?")
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
    said.append({"role": "assistant", "content": reply(chatty, said)})
    said.append({"role": "user", "content": "And then?"})
    assert shown(page)[1] == "".join(reply(chatty, said).split())
    page.click("#renew")
    page.reload()
    page.wait_for_selector("#run:text('Send')")
    assert shown(page) == []


def test_regenerating_replaces_the_last_answer(page):
    adjust(page, temperature=1)
    say(page, "Hello")
    say(page, "Again")
    before = shown(page)
    assert page.locator("button:visible:text('Regenerate')").count() == 1
    page.click("button:visible:text('Regenerate')")
    page.wait_for_selector("#run:text('Stop')")
    answered(page)
    after = shown(page)
    assert len(after) == 2
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert page.locator(".question").all_text_contents() == ["Hello", "Again"]


def test_stop_keeps_what_is_there_and_the_chat_goes_on(bare, serving, chatty):
    slow = dynexit.LanguageModel(
        Unhurried(chatty.model), chatty.tokenizer, chatty.eos, chatty.name, chatty.folder
    )
    with serving(slow) as server:
        visit(bare, server)
        bare.fill("#prompt", "Hello")
        bare.keyboard.press("Enter")
        bare.wait_for_selector(".answer .token")
        bare.keyboard.press("Escape")
        answered(bare)
        end = time.monotonic() + 60
        while server.engine.running:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert len(shown(bare)[0]) > 0
        say(bare, "And then?", 8)
        assert len(shown(bare)) == 2


def test_a_new_chat_forgets_the_old_one(page, chatty):
    say(page, "Hello")
    page.click("#renew")
    assert page.locator(".answer, .question").count() == 0
    assert page.is_visible("#welcome")
    say(page, "Who?")
    assert shown(page) == ["".join(reply(chatty, [{"role": "user", "content": "Who?"}]).split())]


def test_an_answer_is_copied_as_it_was_written(page, chatty, chat_server):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=chat_server.url)
    say(page, "Hello")
    page.click(".answer footer button:text-is('Copy')")
    page.wait_for_selector(".answer footer button:text('Copied')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == reply(chatty, [{"role": "user", "content": "Hello"}])


def test_a_race_is_run_against_the_same_conversation(page):
    say(page, "Hello")
    say(page, "And then?")
    page.locator(".answer").last.locator("button:text('Race')").click()
    page.wait_for_selector("#verdict:not(:empty)", timeout=60_000)
    answered(page)
    assert "The same text, token for token." in page.text_content("#verdict")
    raced = "".join(page.locator("#vanilla .token").all_text_contents())
    assert "".join(raced.split()) == shown(page)[1]


def test_layers_are_shown_under_the_pointer_and_by_the_keyboard(page, chatty):
    say(page, "Hello")
    page.locator(".answer .token").nth(3).hover()
    page.wait_for_selector("#layers li")
    assert page.locator("#layers li").count() == chatty.num_layers
    page.focus(".answer .text")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#layers li")
    assert page.locator(".answer .token.chosen").count() >= 1
    adjust(page, colours=False)
    ink, colour = page.evaluate(
        "[getComputedStyle(document.body).color,"
        " getComputedStyle(document.querySelector('.answer .token')).color]"
    )
    assert ink == colour


def test_what_does_not_fit_the_context_gives_the_message_back(bare, chat_server):
    visit(bare, chat_server)
    say(bare, "Hello")
    long = "word " * 3_000
    bare.fill("#prompt", long)
    bare.keyboard.press("Enter")
    bare.wait_for_selector("#error:not(:empty)")
    assert "context" in bare.text_content("#error")
    assert bare.text_content("#error").endswith("Or begin a new chat.")
    assert bare.input_value("#prompt") == long
    assert len(shown(bare)) == 1
    bare.fill("#prompt", "")
    say(bare, "Still there?", 4)
    assert len(shown(bare)) == 2
    assert bare.text_content("#error") == ""


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(1440, 900, "light"), (1280, 720, "dark"), (390, 844, "dark"), (360, 640, "light")],
)
def test_a_long_answer_scrolls_inside_its_column(browser, chat_server, width, height, scheme):
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    visit(page, chat_server)
    say(page, "Hello\n" * 30, 200)
    say(page, "Hello\n" * 30, 200)
    sizes = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    assert page.evaluate(sizes) == [width, height]
    turns = page.evaluate(
        "(({scrollHeight, clientHeight, scrollTop}) => [scrollHeight, clientHeight, scrollTop])"
        "(document.getElementById('turns'))"
    )
    assert turns[0] > turns[1] > 100
    assert turns[2] + turns[1] > turns[0] - 80  # whoever is at the end stays there
    for needed in ("#prompt", "#run", "#open-settings", ".legend"):
        box = page.locator(needed).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
    page.close()


def test_a_phone_shows_the_layers_over_the_text(browser, chat_server, chatty):
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    visit(page, chat_server)
    say(page, "Hello")
    assert page.is_hidden("#inside")
    page.locator(".answer .token").nth(2).tap()
    page.wait_for_selector("#layers li")
    assert page.locator("#layers li").count() == chatty.num_layers
    page.click("#close-inside")
    assert page.is_hidden("#inside")
    page.close()


def test_the_first_screen_says_what_one_sees_and_what_runs(page, chatty):
    facts = page.locator("#model .fact").all_text_contents()
    assert facts[1].startswith("16.9M parameters, ")
    assert chatty.model.runtime_name.startswith(facts[3])
    assert facts[4].startswith(f"{chatty.num_layers} layers, ")
    assert re.search(r"exit \d+ agrees \d+ %|no exit pays", facts[4])
    assert page.is_visible("#welcome")
    page.click("#examples button")
    assert page.input_value("#prompt") != ""


HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\n\n"
    "[a](javascript:window.hit=1) [b](data:text/html,x) <javascript:window.hit=1> "
    "[c](//other/x)\n\n"
    "![picture](http://other/x.png) **<b onclick='window.hit=1'>bold</b>**\n\n"
    "```html\n<iframe src='http://other'></iframe>\n```\n\n<style>* { display: none }</style>\n\n"
    "<form action='http://other'><input name='a'></form>\n\n- [x] done\n- [ ] not done"
)


def test_nothing_that_a_model_writes_is_run(page):
    told = page.evaluate(
        """async text => {
            const {blocksOf, elementsOf} = await import("/page/markdown.js");
            const box = document.createElement("div");
            for (const block of blocksOf(text)) box.append(elementsOf(block));
            document.body.append(box);
            for (const link of box.querySelectorAll("a[href]")) link.target = "nowhere";
            await new Promise(done => setTimeout(done, 200));
            const all = [...box.querySelectorAll("*")];
            return {
                tags: all.map(one => one.localName),
                names: all.flatMap(one => one.getAttributeNames()),
                links: [...box.querySelectorAll("a[href]")].map(one => one.getAttribute("href")),
                text: box.textContent, hit: window.hit ?? 0,
            };
        }""",
        HOSTILE,
    )
    assert told["hit"] == 0
    assert set(told["tags"]) <= {"p", "a", "strong", "pre", "code", "ul", "li"}
    assert set(told["names"]) <= {"href", "rel", "target"}
    assert told["links"] == []
    for whole in ("<script>window.hit = 1</script>", "<iframe src=", "<b onclick", "[x] done"):
        assert whole in told["text"]


MARKDOWN = (
    "# The *title*\n\nSome `code` & **bold** words, a [link](https://example.org/a_b) and "
    "3 < 4.\n\n```python\nprint('x')  # print\n    return 1\n```\n\n1. first\n2. second\n\n"
    "| a | b |\n|---|---|\n| cell | 22 |\n\n> quoted\n\nEnd: déjà vu 😀.\n"
)


STREAM = """async (text, size, every) => {
    const {Formatted} = await import("/page/formatted.js"), signs = [...text];
    const view = new Formatted(document.createElement("div"));
    const sources = ["accepted", "recovered", "bonus"];
    for (let i = 0; i < signs.length; i += size) {
        const token = {text: signs.slice(i, i + size).join(""), source: sources[i / size % 3]};
        view.add({index: i, token, round: {}});
        if (i % every === 0) view.draw();
    }
    view.end();
    return view;
}"""


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_markdown_keeps_every_tokens_colour(page, size):
    """Characters of Markdown's own are left out; each other one has the colour of its token."""
    told = page.evaluate(
        """async ([text, size]) => {
            const {box, source} = await STREAM(text, size, 5);
            const spans = [...box.querySelectorAll(".token")];
            return {
                spans: spans.map(s => [s.textContent, s.className]),
                known: spans.map(s => [s.known.token.text, `token ${s.known.token.source}`]),
                bare: box.textContent.replaceAll("Copy code", ""), source,
            };
        }""".replace("STREAM", f"({STREAM})"),
        [MARKDOWN, size],
    )
    assert told["source"] == MARKDOWN
    for (text, name), (whole, own) in zip(told["spans"], told["known"], strict=True):
        assert text.strip() in whole
        assert name == own
    coloured = "".join(text for text, _ in told["spans"])
    assert "".join(coloured.split()) == "".join(told["bare"].split())
    for words in ("The title", "print('x')  # print\n    return 1", "cell", "😀."):
        assert words in told["bare"]
    assert "**" not in told["bare"]


def test_a_text_that_streams_is_the_text_at_once(page):
    first, second = page.evaluate(
        """text => Promise.all([1, 1000].map(async size => {
            const {box} = await STREAM(text, size, 1);
            for (const span of box.querySelectorAll(".token")) span.replaceWith(span.textContent);
            for (const open of box.querySelectorAll(".open")) open.replaceWith(...open.childNodes);
            box.normalize();
            return box.innerHTML;
        }))""".replace("STREAM", f"({STREAM})"),
        MARKDOWN,
    )
    assert first == second
    assert "<h1>The <em>title</em></h1>" in first
    assert "<td>22</td>" in first


def test_libraries_come_with_their_licences(chat_server):
    for file in (FOLDER / "vendor").glob("*.js"):
        licence = f"{chat_server.url}/page/vendor/{file.stem}.LICENSE.txt"
        with urllib.request.urlopen(licence) as told:
            assert "icense" in told.read().decode()
    assert len(list(Path(FOLDER / "vendor").glob("*.js"))) == 2
