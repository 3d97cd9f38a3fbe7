"""The page as a chat, in a real browser."""

import re
import time

import pytest
from browsing import adjust, visit, watched
from chat_models import chat_model
from running import Unhurried

import dynexit

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
