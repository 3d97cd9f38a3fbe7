"""Where texts begin, end and break off."""

from dataclasses import replace

import pytest
import torch
from tiny import (
    EXITING,
    LLAMA,
    LOSSLESS,
    WITH_EXITS,
    Fixed,
    decode,
    new_tokens,
    random_model,
    scripted,
)

from dynexit import DynexitError, LanguageModel

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
VOCABULARY = LLAMA.vocab_size


@pytest.fixture(scope="module")
def model():
    return random_model(depth_gain=0.7)


@pytest.fixture(scope="module")
def text(model):
    return new_tokens(model, PROMPT, max_new_tokens=24)


# Prompts


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_prompt_of_one_token(model, method):
    expected = new_tokens(model, [3], max_new_tokens=12)
    assert new_tokens(model, [3], method, max_new_tokens=12) == expected


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(model, method):
    too_long = [1] * (LLAMA.max_positions + 1)
    with pytest.raises(DynexitError, match=r"161 tokens.*context holds 160"):
        new_tokens(model, too_long, method)


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_prompt_exactly_as_long_as_the_context_has_one_token_after_it(method):
    model = random_model(replace(LLAMA, max_positions=9), depth_gain=0.7)
    out = LanguageModel(model).generate([3, 1, 4, 1, 5, 9, 2, 6, 5], method)
    assert (len(out.token_ids), out.finish_reason) == (1, "context")


@pytest.mark.parametrize("method", LOSSLESS)
@pytest.mark.parametrize("room", [1, 2, 3, 7])
def test_the_context_may_fill_up_in_the_middle_of_a_draft(model, text, method, room):
    short = random_model(replace(LLAMA, max_positions=len(PROMPT) + room), depth_gain=0.7)
    out = LanguageModel(short).generate(PROMPT, method, max_new_tokens=50)
    assert out.token_ids == text[: room + 1]
    assert out.finish_reason == "context"


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_text_that_ends_by_length_where_the_context_ends_says_length(text, method):
    short = random_model(replace(LLAMA, max_positions=len(PROMPT) + 4), depth_gain=0.7)
    out = LanguageModel(short).generate(PROMPT, method, max_new_tokens=5)
    assert (out.token_ids, out.finish_reason) == (text[:5], "length")


@pytest.mark.parametrize("wrong", [-1, VOCABULARY, VOCABULARY + 100])
def test_token_ids_outside_the_vocabulary_are_refused(model, wrong):
    with pytest.raises(DynexitError, match=f"token id {wrong} is outside .* {VOCABULARY} tokens"):
        new_tokens(model, [1, wrong, 2])


def test_padding_of_the_vocabulary_is_neither_chosen_nor_taken(tokenizer):
    config = replace(LLAMA, vocab_size=tokenizer.size + 50)
    padded = random_model(config, depth_gain=0.7)
    padded.head.weight[tokenizer.size :] *= 20.0  # would win every argmax
    lm = LanguageModel(padded, tokenizer)
    for method in LOSSLESS:
        assert max(lm.generate("dawn", method, max_new_tokens=12).token_ids) < tokenizer.size
    with pytest.raises(DynexitError, match=f"vocabulary of {tokenizer.size} tokens"):
        lm.generate([tokenizer.size])


def test_an_empty_prompt_is_refused(model, author):
    for lm, prompt in ((LanguageModel(model), []), (author, ""), (author, [])):
        with pytest.raises(DynexitError, match="prompt is empty"):
            lm.generate(prompt)


def test_text_needs_a_tokenizer(model):
    with pytest.raises(DynexitError, match="no tokenizer"):
        LanguageModel(model).generate("words")
    with pytest.raises(DynexitError, match="stop strings need a tokenizer"):
        LanguageModel(model).generate([1, 2], stop="x")


# Ends


@pytest.mark.parametrize("method", LOSSLESS)
def test_eos_inside_a_draft_ends_the_text_before_it(model, text, method):
    for eos in sorted(set(text)):
        at = text.index(eos)
        sequence, chunks = decode(model, PROMPT, method, 24, frozenset({eos}))
        assert sequence.new_tokens == text[:at]
        assert sequence.finish_reason == "stop"
        assert len(chunks) == at
        assert sequence.cache.length == len(sequence.tokens) - 1


def test_eos_was_drafted_and_accepted_in_some_of_these(model, text):
    ends = 0
    for eos in sorted(set(text)):
        sequence, _ = decode(model, PROMPT, Fixed(4, 8), 24, frozenset({eos}))
        ends += any(r.accepted > r.tokens for r in sequence.stats.rounds)
        assert sequence.new_tokens == text[: text.index(eos)]
    assert ends > 1


@pytest.mark.parametrize("method", LOSSLESS)
def test_eos_as_the_first_token_leaves_an_empty_text(model, text, method):
    sequence, chunks = decode(model, PROMPT, method, eos=frozenset({text[0]}))
    assert (sequence.new_tokens, chunks, sequence.finish_reason) == ([], [], "stop")
    assert sequence.stats.rounds == []
    assert sequence.cache.length == len(PROMPT) - 1


def test_drafting_ends_with_an_eos_token():
    says = [(token + 1) % 30 for token in range(30)]
    sequence, _ = decode(scripted(says, says), [5], Fixed(1, 8), 24, frozenset({10}))
    assert sequence.new_tokens == [6, 7, 8, 9]
    assert [(r.drafted, r.accepted, r.tokens) for r in sequence.stats.rounds] == [(4, 4, 3)]


def test_an_eos_token_in_the_prompt_is_only_context(model, text):
    sequence, _ = decode(model, PROMPT, "layerskip", 5, frozenset(PROMPT) - set(text[:5]))
    assert sequence.new_tokens == text[:5]


@pytest.mark.parametrize("method", LOSSLESS)
def test_one_new_token_takes_no_round(model, text, method):
    sequence, _ = decode(model, PROMPT, method, max_new_tokens=1)
    assert (sequence.new_tokens, sequence.finish_reason) == (text[:1], "length")
    assert sequence.stats.rounds == []


@pytest.mark.parametrize("wrong", [-1, -3])
def test_fewer_than_no_new_token_is_refused(model, wrong):
    with pytest.raises(DynexitError, match=f"max_new_tokens is {wrong}"):
        new_tokens(model, PROMPT, max_new_tokens=wrong)


# Exit layers and lengths


@pytest.mark.parametrize("method", [m for m in EXITING if "del-e-lim" not in m])
@pytest.mark.parametrize("exit_layer", [1, LLAMA.num_layers - 1])
def test_the_first_and_the_last_exit_layer(model, text, method, exit_layer):
    out = LanguageModel(model).generate(PROMPT, method, exit_layer=exit_layer, max_new_tokens=9)
    assert out.token_ids == text[:9]
    assert {r.plan.exit_layer for r in out.stats.rounds} == {exit_layer}


def test_a_speculation_length_of_zero_is_plain_decoding(model, text):
    out = LanguageModel(model).generate(
        PROMPT, "layerskip", speculation_length=0, max_new_tokens=12
    )
    assert out.token_ids == text[:12]
    assert (out.stats.drafted, len(out.stats.rounds)) == (0, 11)
    plain = LanguageModel(model).generate(PROMPT, "vanilla", max_new_tokens=12)
    assert out.stats.etpl == plain.stats.etpl == 1 / LLAMA.num_layers


@pytest.mark.parametrize("exit_layer", [0, 5, 6])
@pytest.mark.parametrize("method", [m for m in WITH_EXITS if "del-e-lim" not in m])
def test_exit_layers_outside_the_model_are_refused(model, method, exit_layer):
    with pytest.raises(DynexitError, match=f"exit.layer (is )?{exit_layer}"):
        new_tokens(model, PROMPT, method, exit_layer=exit_layer)


@pytest.mark.parametrize("exit_layer", [-1, 0, 5, 6])
def test_a_users_controller_that_plans_an_exit_outside_the_model_is_refused(model, exit_layer):
    with pytest.raises(DynexitError, match=f"exit layer {exit_layer}.* 1 .* 4"):
        new_tokens(model, PROMPT, Fixed(exit_layer, 3))


def test_a_users_controller_that_plans_a_negative_length_takes_plain_steps(model, text):
    assert new_tokens(model, PROMPT, Fixed(2, -4), max_new_tokens=6) == text[:6]


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_model_of_one_layer_is_refused_or_runs(method):
    one_layer = random_model(replace(LLAMA, num_layers=1))
    expected = new_tokens(one_layer, PROMPT, max_new_tokens=5)
    try:
        written = new_tokens(one_layer, PROMPT, method, max_new_tokens=5)
    except DynexitError:
        return
    assert written == expected


# Damage


@pytest.mark.parametrize("method", LOSSLESS)
@pytest.mark.parametrize("spoiled", ["first layer", "last layer", "head"])
def test_weights_that_are_not_numbers_raise(method, spoiled):
    broken = random_model()
    parts = {"first layer": broken.layers[0].down, "last layer": broken.layers[-1].out}
    parts.get(spoiled, broken.head).weight[3] = float("nan")
    for options in ({}, {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "seed": 0}):
        with pytest.raises(DynexitError, match="not numbers"):
            new_tokens(broken, PROMPT, method, **options)


@pytest.mark.parametrize("method", LOSSLESS)
@pytest.mark.parametrize("acceptance", ["shared-noise", "speculative"])
def test_damage_that_appears_in_mid_text_raises_and_keeps_what_there_was(method, acceptance):
    says = [(token + 1) % 30 for token in range(30)]
    model = scripted(says, says)
    model.embedding.weight[12] = float("nan")
    rule = {"temperature": 0.01, "acceptance": acceptance, "seed": 0}
    stream = LanguageModel(model).stream([4, 5], method, max_new_tokens=20, **rule)
    with pytest.raises(DynexitError, match="not numbers"):
        list(stream)
    kept = stream.output
    assert kept.token_ids == list(range(6, 13))[: len(kept.token_ids)]
    assert kept.stats.tokens == len(kept.token_ids) - 1
    assert kept.finish_reason is None


def test_ties_go_to_the_lowest_id():
    tied = random_model(depth_gain=0.7)
    tied.head.weight[:] = tied.head.weight[torch.arange(VOCABULARY) // 2 * 2]
    for method in LOSSLESS:
        written = new_tokens(tied, PROMPT, method, max_new_tokens=12)
        assert all(token % 2 == 0 for token in written), method
