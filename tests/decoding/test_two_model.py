"""Drafts by a second model: the text is the target's own, whatever that model says."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LLAMA, decode, new_tokens, random_model

from dynexit import DynexitError, LanguageModel, Sampling
from dynexit.decoding.sampling import Sampler

TARGET = random_model(depth_gain=0.8)
SECONDS = {
    "the target itself": TARGET,
    "its layers halved": random_model(replace(LLAMA, num_layers=2), depth_gain=0.8),
    "another one": random_model(replace(LLAMA, hidden_size=24, num_layers=1), seed=5),
    "a short context": random_model(replace(LLAMA, num_layers=2, max_positions=9)),
}
PROMPT = [3, 1, 4, 1, 5]


@pytest.mark.parametrize("second", SECONDS)
@pytest.mark.parametrize("length", [0, 1, 2, 5, 18])
def test_text_is_vanillas(second, length):
    plain, _ = decode(TARGET, PROMPT, "vanilla", 24)
    sequence, _ = decode(
        TARGET, PROMPT, "two-model", 24, second=SECONDS[second], speculation_length=length
    )
    assert sequence.new_tokens == plain.new_tokens
    assert sequence.finish_reason == plain.finish_reason


@settings(deadline=None, max_examples=25)
@given(
    prompt=st.lists(st.integers(0, 28), min_size=1, max_size=12),
    length=st.integers(1, 7),
    seed=st.integers(0, 99),
    second=st.sampled_from(sorted(SECONDS)),
    eos=st.sets(st.integers(0, 28), max_size=3),
    temperature=st.sampled_from([0.0, 1.3]),
)
def test_text_is_vanillas_for_any_prompt_seed_and_end(
    prompt, length, seed, second, eos, temperature
):
    rule = Sampling(temperature=temperature, seed=seed)
    common = {"max_new_tokens": 20, "eos": frozenset(eos), "sampling": rule}
    plain, _ = decode(TARGET, prompt, "vanilla", **common)
    sequence, _ = decode(
        TARGET, prompt, "two-model", **common, second=SECONDS[second], speculation_length=length
    )
    assert sequence.new_tokens == plain.new_tokens
    assert sequence.finish_reason == plain.finish_reason


def test_noise_is_the_targets_to_the_bit_whatever_precision_asked_first():
    """A second model's logits may be fp32 where the target's are fp64."""
    second, target = torch.zeros(3, 29), torch.zeros(3, 29, dtype=torch.float64)
    alone, shared = (Sampler(Sampling(temperature=1.0, seed=4), PROMPT) for _ in range(2))
    assert shared.noise(second, 0).dtype == torch.float32
    assert torch.equal(shared.noise(target, 0), alone.noise(target, 0))


def test_a_target_that_drafts_for_itself_is_always_right():
    sequence, _ = decode(TARGET, PROMPT, "two-model", 25, second=TARGET, speculation_length=3)
    assert sequence.stats.acceptance_rate == 1.0
    assert [r.tokens for r in sequence.stats.rounds] == [4] * 6
    told = sequence.stats.as_dict()["round_records"]
    assert set(told["drafter"]) == {"second-model"}
    assert set(told["exit_layer"]) == {0}


def test_the_second_model_reads_every_token_once():
    """Its cache is never rebuilt: all it runs are the text's tokens and its own rejected drafts."""
    second = SECONDS["its layers halved"]
    ran = []
    handle = second.layers[0].register_forward_hook(
        lambda _, inputs, __: ran.append(len(inputs[0]))
    )
    sequence, _ = decode(TARGET, PROMPT, "two-model", 24, second=second, speculation_length=4)
    handle.remove()
    rejected = sequence.stats.drafted - sequence.stats.accepted
    assert sum(ran) <= len(sequence.tokens) + rejected


def test_a_context_too_short_for_the_text_ends_drafting_not_the_text():
    second = SECONDS["a short context"]
    sequence, _ = decode(TARGET, PROMPT, "two-model", 24, second=second, speculation_length=4)
    assert sequence.stats.rounds[0].drafted > 0
    assert sequence.stats.rounds[-1].drafted == 0


def test_speculative_acceptance_runs_with_a_second_model():
    rule = Sampling(temperature=1.0, seed=3, acceptance="speculative")
    second = SECONDS["its layers halved"]
    sequence, _ = decode(TARGET, PROMPT, "two-model", 24, sampling=rule, second=second)
    assert len(sequence.new_tokens) == 24
    assert 0 < sequence.stats.accepted < sequence.stats.drafted


def test_without_a_second_model_it_says_what_to_give():
    with pytest.raises(DynexitError, match="give draft_model"):
        new_tokens(TARGET, PROMPT, "two-model")


def test_another_vocabulary_is_refused():
    other = LanguageModel(random_model(replace(LLAMA, vocab_size=31)), name="other")
    with pytest.raises(DynexitError, match="other has 31 tokens but model has 29"):
        LanguageModel(TARGET).generate(PROMPT, "two-model", draft_model=other)


def test_a_vocabulary_in_another_order_is_refused(tokenizer, tmp_path):
    from dynexit.model.tokenizer import CheckpointTokenizer
    from dynexit.training.vocabulary import byte_level_tokenizer, save_tokenizer

    shuffled = byte_level_tokenizer(tokenizer.size, ["zebras quiz vexed jumps"] * 9)
    save_tokenizer(shuffled, tmp_path, 512)
    config = replace(LLAMA, vocab_size=tokenizer.size)
    one = LanguageModel(random_model(config, dtype=torch.float32), tokenizer, name="one")
    two = LanguageModel(random_model(config), CheckpointTokenizer(tmp_path), name="two")
    with pytest.raises(DynexitError, match="same vocabulary"):
        one.generate("The", "two-model", draft_model=two)


def test_settings_in_a_methods_name():
    named = new_tokens(TARGET, PROMPT, "layerskip:exit_layer=2,speculation_length=3")
    assert named == new_tokens(TARGET, PROMPT)
    with pytest.raises(DynexitError, match="no setting 'speed'"):
        new_tokens(TARGET, PROMPT, "layerskip:speed=2")
