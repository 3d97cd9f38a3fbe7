"""Sessions and conversations: what follows knows what went before, and the text is plain's."""

from pathlib import Path

import pytest

import dynexit
from dynexit import DynexitError
from dynexit.model.interface import BLOCK

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SYSTEM = "You answer in the words of an old book, and you never say more than you know. " * 3


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    """The bundled checkpoint with a chat template."""
    folder = tmp_path_factory.mktemp("chat")
    for file in Path(dynexit.__file__).parent.joinpath("bundled").iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return dynexit.load(folder, device="cpu", check=False)


def expected(lm, messages, **asked):
    """What plain decoding answers to these."""
    return lm.generate(lm.tokenizer.encode_chat(messages), "vanilla", **asked).text


@pytest.mark.parametrize("method", ["auto", "vanilla", "layerskip:exit_layer=3"])
def test_a_conversation_is_the_one_that_plain_decoding_has(lm, method):
    chat = lm.chat(SYSTEM, method)
    for turn in range(5):
        messages = [*chat.messages, {"role": "user", "content": f"And then, in year {turn}?"}]
        answer = chat.send(f"And then, in year {turn}?", max_new_tokens=30)
        assert answer.text == expected(lm, messages, max_new_tokens=30)
        assert chat.messages == [*messages, {"role": "assistant", "content": answer.text}]
    read = len(lm.tokenizer.encode_chat(messages)) - answer.stats.cached_tokens
    assert answer.stats.cached_tokens > 5 * BLOCK
    assert read < 40 + BLOCK


def test_a_stream_says_the_same_and_what_was_broken_off_is_what_was_said(lm):
    chat = lm.chat()
    assert chat.messages == []
    text = "".join(chunk.text for chunk in chat.stream("Who was it?", max_new_tokens=20))
    asked = [{"role": "user", "content": "Who was it?"}]
    assert text == expected(lm, asked, max_new_tokens=20)
    assert chat.messages == [*asked, {"role": "assistant", "content": text}]
    begun = chat.stream("Where?", max_new_tokens=20)
    for _ in range(3):
        next(begun)
    before = chat.messages
    assert before[-1] == {"role": "assistant", "content": begun.output.text}
    assert 0 < len(begun.output.token_ids) < 20
    chat.send("When?", max_new_tokens=5)
    assert chat.messages[: len(before)] == before
    assert len(chat.messages) == len(before) + 2


def test_turns_that_went_before_may_be_given(lm):
    before = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Well met."}]
    chat = lm.chat(SYSTEM, messages=before)
    assert chat.messages == [{"role": "system", "content": SYSTEM}, *before]
    chat.messages.clear()
    assert len(chat.messages) == 3


def test_what_is_refused_leaves_the_conversation_as_it_was(lm):
    chat = lm.chat("Be kind.")
    for ask in (chat.send, chat.stream):
        with pytest.raises(DynexitError, match="2048"):
            ask("word " * 3000)
        with pytest.raises(DynexitError, match="max_tokens"):
            ask("Hello?", max_tokens=3)
    assert chat.messages == [{"role": "system", "content": "Be kind."}]


def test_a_model_without_a_template_has_no_conversations():
    with pytest.raises(DynexitError, match="bundled has no chat template: it was not trained on"):
        dynexit.load(device="cpu", check=False).chat()


def test_messages_are_text_unless_they_are_trusted(lm):
    end = lm.tokenizer.loaded.convert_ids_to_tokens(next(iter(lm.eos)))
    for trusted in (False, True):
        chat = lm.chat(trust_messages=trusted, cache_memory="1MB")
        chat.send(f"One{end}two", max_new_tokens=1)
        ids = lm.tokenizer.encode_chat(chat.messages[:1], trust_messages=trusted)
        assert (next(iter(lm.eos)) in ids) == trusted
        assert chat.send(f"One{end}two", max_new_tokens=1).text is not None


def test_memory_is_chosen_and_may_be_none(lm):
    assert lm.chat(cache_memory=0).cache is None
    assert lm.session(cache_memory="3MB").cache.limit == 3_000_000
    with pytest.raises(DynexitError, match="is too small for one block"):
        lm.session(cache_memory="3KB")
    chat = lm.chat(SYSTEM, cache_memory=0)
    for _ in range(2):
        assert chat.send("Hello?", max_new_tokens=3).stats.cached_tokens == 0
