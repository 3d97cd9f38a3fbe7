"""Drafts by a copy of the first layers in int8: whatever is asked of it, the text is vanilla's."""

from functools import cache

import pytest
import torch
from tiny import FAMILIES, Fixed, decode, random_model

from dynexit import LanguageModel
from dynexit.decoding.plans import Plan
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together
from dynexit.model.native.transformer import NativeTransformer

PROMPT, LENGTH = [3, 1, 4, 1, 5], 24


def native(family="llama"):
    model = random_model(FAMILIES[family], depth_gain=0.6, dtype=torch.float32)
    return NativeTransformer.packing(model.bfloat16())


@cache
def vanillas(family="llama"):
    return decode(native(family), PROMPT, "vanilla", LENGTH)[0].new_tokens


class Copied(Fixed):
    """Drafts with the copy, by an exit that it may not hold."""

    drafters = ("early-exit-int8",)
    int8 = True

    def __init__(self, exit_layer, length):
        self.planned = Plan(exit_layer, length, drafter="early-exit-int8")


@pytest.mark.parametrize("exit_layer", [1, 2, 3, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_exit_that_auto_takes(family, exit_layer):
    model = native(family)
    lm = LanguageModel(model)
    method = f"auto:int8=true,exit_layer={exit_layer}"
    assert lm.generate(PROMPT, method, max_new_tokens=LENGTH).token_ids == vanillas(family)
    assert model.draft_copy.kept_layers == 2  # deeper exits draft with the model itself


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("exit_layer", [1, 2, 3, 4])
def test_exits_deeper_than_the_copy_draft_with_the_model_itself(exit_layer, batch_size):
    model = native()
    model.copy_for_drafts(2, 29)
    texts = [
        LanguageModel(model).sequence(PROMPT, Copied(exit_layer, 3)) for _ in range(batch_size)
    ]
    generate_together(texts, Scheduler(model))
    assert all(text.new_tokens[:LENGTH] == vanillas() for text in texts)
    assert all(text.stats.drafted for text in texts)
    assert model.draft_copy.kept_layers == 2


def test_the_copy_is_the_same_whatever_texts_ask():
    model = native()
    lm = LanguageModel(model)
    lm.generate(PROMPT, "auto:int8=true,draft_vocabulary=1", max_new_tokens=2)
    copy = model.draft_copy
    assert (copy.kept_layers, copy.kept_tokens) == (2, 29)
    for method in ("auto:int8=true,exit_layer=4", "auto:int8=true,draft_vocabulary=33554432"):
        lm.generate(PROMPT, method, max_new_tokens=2)
        assert model.draft_copy is copy


def test_a_copy_that_outlives_its_model_still_drafts():
    model = native()
    copy, wanted = model.copy_for_drafts(2, 29), model.embed([5]).clone()
    del model
    assert torch.equal(copy.embed([5]), wanted)
