"""What callers pass that cannot be meant: one sentence each, and nothing runs."""

import numpy as np
import pytest
import torch

from dynexit import Controller, DynexitError, LanguageModel, Sampling, load


@pytest.fixture(scope="module")
def lm(checkpoint) -> LanguageModel:
    return load(checkpoint, check=False)


IDS = [5, 6, 7]


@pytest.mark.parametrize("ids", [
    np.array(IDS), np.array(IDS, np.uint8), torch.tensor(IDS), tuple(IDS), list(torch.tensor(IDS)),
    range(5, 8),
])  # fmt: skip
def test_ids_may_come_in_any_row_of_whole_numbers(lm, ids):
    written = lm.generate(IDS, "vanilla", max_new_tokens=3).token_ids
    assert lm.generate(ids, "vanilla", max_new_tokens=np.int64(3)).token_ids == written


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (b"Hi", "the prompt is bytes: decode it"),
        (None, "the prompt is None: give text, or token ids"),
        (5, "the prompt is 5: give text"),
        (["a", "b"], "a list of texts: give one text"),
        ([IDS], "rows of token ids: give one row"),
        (torch.tensor([IDS]), "rows of token ids: give one row"),
        (np.array([IDS]), "rows of token ids: give one row"),
        (torch.tensor(5), "the prompt is 5: give text"),
        (torch.tensor([1.0]), "token id 1.0 is not a whole number"),
        ([1.5], "token id 1.5 is not a whole number"),
        ([True], "token id True is not a whole number"),
        ([None], "token id None is not a whole number"),
        ([10**30], "is outside the vocabulary"),
        ({"input_ids": IDS}, 'give its "input_ids"'),
        ("a\ud800b", r"the prompt is not UTF-8 text: its character 1 is '\\ud800'"),
        ("\udcff", "the prompt is not UTF-8 text: its character 0"),
        ("", "the prompt is empty"),
    ],
)
def test_a_prompt_that_is_none(lm, prompt, sentence):
    with pytest.raises(DynexitError, match=sentence):
        lm.generate(prompt)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_new_tokens": True}, "max_new_tokens is True: it must be a whole number"),
        ({"max_new_tokens": "5"}, "max_new_tokens is '5': it must be a whole number"),
        ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5: it must be a whole number"),
        ({"max_new_tokens": float("nan")}, "max_new_tokens is nan: it must be a whole number"),
        ({"max_new_tokens": None}, "max_new_tokens is None: it must be a whole number"),
        ({"max_new_tokens": -1}, "max_new_tokens is -1: it must be at least 0"),
        ({"max_tokens": 5}, r"'max_tokens' \(did you mean max_new_tokens\?\), and method 'auto'"),
        ({"temprature": 1}, r"no argument 'temprature' \(did you mean temperature\?\)"),
        ({"num_beams": 5}, "no setting 'num_beams'"),
        ({"stop": [1]}, "stop holds 1: give a text"),
        ({"stop": 1}, "stop is 1: give a text"),
        ({"stop": b"x"}, "stop is b'x': give a text"),
        ({"stop": "\ud800"}, "a stop string is not UTF-8 text"),
        ({"logprobs": True}, "logprobs is True"),
        ({"logprobs": -1}, "logprobs is -1: it must be at least 0"),
        ({"temperature": -0.5}, "temperature is -0.5: it must be at least 0"),
        ({"temperature": True}, "temperature is True: it must be a number"),
        ({"temperature": "1"}, "temperature is '1': it must be a number"),
        ({"temperature": np.float32("inf")}, "temperature is .*inf.*: it must be"),
        ({"top_k": 1.5}, "top_k is 1.5: it must be a whole number"),
        ({"top_k": True}, "top_k is True: it must be a whole number"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"seed": 2**64}, f"seed is {2**64}: it must be between"),
        ({"seed": -(2**64)}, "it must be between"),
        ({"seed": True}, "seed is True: it must be a whole number"),
        ({"seed": 1.0}, "seed is 1.0: it must be a whole number"),
        ({"sampling": {"temperature": 1}}, "sampling must be a dynexit.Sampling"),
        ({"sampling": Sampling(), "seed": 1}, "seed is given in addition to `sampling`"),
        ({"draft_model": "small", "method": "two-model"}, "draft_model must be a model"),
        ({"method": 5}, "method is 5: give a name"),
        ({"method": Controller}, "a controller object"),
        ({"exit_layer": "3", "method": "layerskip"}, "exit_layer is '3': it must be a whole"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_meant(lm, options, sentence):
    with pytest.raises(DynexitError, match=sentence):
        lm.generate("Hi", **options)


def test_numbers_of_numpy_are_numbers(lm):
    rule = {"temperature": np.float32(0.5), "top_k": np.int64(9)}
    texts = [
        lm.generate("Hi", "vanilla", max_new_tokens=4, seed=seed, **rule)
        for seed in (7, np.int64(7))
    ]
    assert texts[0].token_ids == texts[1].token_ids


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": 5}, "model is 5"),
        ({"dtype": 5}, "dtype 5 is not known"),
        ({"dtype": ["fp32"]}, "is not known"),
        ({"device": 1.5}, "device 1.5 is not known"),
        ({"runtime": 3}, "3"),
    ],
)
def test_what_cannot_be_loaded(checkpoint, arguments, sentence):
    with pytest.raises(DynexitError, match=sentence):
        load(**{"model": checkpoint, **arguments})
