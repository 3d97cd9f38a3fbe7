"""Processors and criteria that keep a state: called as plain `generate` calls them."""

import threading

import pytest
import torch
from loaded_models import loaded, prompt
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    SynthIDTextWatermarkingConfig,
    WatermarkingConfig,
)

import dynexit
from dynexit import DynexitError

METHODS = [
    "vanilla",
    "layerskip:exit_layer=3,speculation_length=4",
    "del:analysis=full",
    "finite-state",
    "lookahead:window=5",
    "jacobi",
]
GREEDY = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}


@pytest.fixture(scope="module")
def llama():
    return loaded("llama", dtype=torch.float64)


def ours(model, ids, method=METHODS[1], **options):
    return model.generate(ids, custom_generate=dynexit.generate_hf, method=method, **options)


class Grammar(LogitsProcessor):
    """Keeps a state for each row, moved by the row's newest token in every call."""

    def __init__(self, ends=()):
        self.states, self.seen, self.ends = None, [], ends

    def __call__(self, input_ids, scores):
        newest = input_ids[:, -1].tolist()
        assert not self.seen or newest[0] not in self.ends, "the text has ended"
        old = self.states or [0] * len(newest)
        self.states = [(3 * state + token) % 11 for state, token in zip(old, newest, strict=True)]
        self.seen.append(input_ids[0].tolist())
        allowed = torch.arange(scores.shape[-1]) % 11
        rows = [torch.where(allowed == state, 3.0, 0.0) for state in self.states]
        return scores + torch.stack(rows).to(scores)


class Lasting(StoppingCriteria):
    """Ends a text when it has been asked so many times."""

    def __init__(self, times):
        self.left = times

    def __call__(self, input_ids, scores, **options):
        self.left -= 1
        return torch.full((len(input_ids),), self.left <= 0)


def with_grammar(grammar):
    return {"logits_processor": LogitsProcessorList([grammar])}


@pytest.mark.parametrize("method", METHODS)
def test_a_state_is_moved_once_a_token_and_in_order(llama, method):
    theirs, mine = Grammar(), Grammar()
    plain = llama.generate(prompt(), **GREEDY, **with_grammar(theirs))
    drafted = ours(
        llama, prompt(), method, **GREEDY, **with_grammar(mine), return_dict_in_generate=True
    )
    assert drafted.sequences.tolist() == plain.tolist()
    assert mine.seen == theirs.seen
    assert mine.states == theirs.states
    assert bool(drafted.statistics[0].drafted) == (method != "vanilla")


@pytest.mark.parametrize("acceptance", ["shared-noise", "speculative"])
def test_sampled_tokens_move_it_as_well(llama, acceptance):
    grammar = Grammar()
    options = {**GREEDY, "do_sample": True, "temperature": 0.7, "seed": 3}
    made = ours(llama, prompt(), acceptance=acceptance, **options, **with_grammar(grammar))
    text = made[0].tolist()
    assert grammar.seen == [text[:length] for length in range(7, 27)]
    if acceptance == "shared-noise":
        plain = ours(llama, prompt(), "vanilla", **options, **with_grammar(Grammar()))
        assert plain[0].tolist() == text


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_asked_after_the_end(llama, method):
    text = llama.generate(prompt(), **GREEDY, **with_grammar(Grammar()))[0, 7:].tolist()
    ends = text[6]
    options = {**GREEDY, "eos_token_id": ends}
    plain = llama.generate(prompt(), **options, **with_grammar(Grammar([ends])))
    assert ours(llama, prompt(), method, **options, **with_grammar(Grammar([ends]))).tolist() == (
        plain.tolist()
    )
    grammar, criteria = Grammar(), StoppingCriteriaList([Lasting(5)])
    made = ours(
        llama, prompt(), method, **GREEDY, **with_grammar(grammar), stopping_criteria=criteria
    )
    assert made[0, 7:].tolist() == text[:5]
    assert len(grammar.seen) == 5


def rows(count):
    return torch.cat([prompt(7, seed) for seed in range(count)])


def test_rows_of_a_batch_have_states_of_their_own(llama):
    plain = llama.generate(rows(3), **GREEDY, **with_grammar(Grammar()))
    assert ours(llama, rows(3), **GREEDY, **with_grammar(Grammar())).tolist() == plain.tolist()
    criteria = [StoppingCriteriaList([Lasting(9)]) for _ in range(2)]
    plain = llama.generate(rows(3), **GREEDY, stopping_criteria=criteria[0])
    made = ours(llama, rows(3), **GREEDY, stopping_criteria=criteria[1])
    assert made.tolist() == plain.tolist()
    assert made.shape[1] == 16


def test_a_state_that_cannot_be_copied_is_refused_for_a_batch(llama):
    grammar = Grammar()
    grammar.lock = threading.Lock()
    with pytest.raises(DynexitError, match="Grammar may keep a state but cannot be copied"):
        ours(llama, rows(2), **GREEDY, **with_grammar(grammar))
    assert len(ours(llama, rows(1), **GREEDY, **with_grammar(grammar))) == 1


def test_what_a_function_encloses_is_a_state(llama):
    def allowing():
        asked = []

        def allowed(batch_id, ids):
            asked.append(int(ids[-1]))
            return list(range(len(asked) % 5, 97, 5))

        return allowed

    plain = llama.generate(prompt(), **GREEDY, prefix_allowed_tokens_fn=allowing())
    made = ours(llama, prompt(), **GREEDY, prefix_allowed_tokens_fn=allowing())
    assert made.tolist() == plain.tolist()
    with pytest.raises(DynexitError, match=r"PrefixConstrained.*one prompt at a time"):
        ours(llama, rows(2), **GREEDY, prefix_allowed_tokens_fn=allowing())


@pytest.mark.parametrize("count", [1, 2])
def test_guidance_without_a_classifier(llama, count):
    options = {**GREEDY, "guidance_scale": 2.5, "negative_prompt_ids": rows(count).flip(1)}
    plain = llama.generate(rows(count), **options)
    assert ours(llama, rows(count), **options).tolist() == plain.tolist()
    assert plain.tolist() != llama.generate(rows(count), **GREEDY).tolist()


WATERMARKS = [
    WatermarkingConfig(greenlist_ratio=0.3, bias=4.0),
    SynthIDTextWatermarkingConfig(ngram_len=3, keys=[5, 9, 11], sampling_table_size=64),
]


@pytest.mark.parametrize("config", WATERMARKS, ids=lambda config: type(config).__name__)
def test_watermarks(llama, config):
    options = {**GREEDY, "watermarking_config": config}
    plain = llama.generate(prompt(), **options)
    assert ours(llama, prompt(), **options).tolist() == plain.tolist()
