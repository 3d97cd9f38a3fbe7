"""Names that differ between releases of transformers, and arguments that say nothing."""

import pytest
import torch
from loaded_models import loaded, prompt
from transformers import DynamicCache

import dynexit
from dynexit import DynexitError
from dynexit.integrations.transformers.refusals import refuse_arguments
from dynexit.integrations.transformers.versions import CACHE_NAMES, cache_keyword, cache_of

GREEDY = {"max_new_tokens": 6, "do_sample": False}


def ours(model, **options):
    options = {**GREEDY, "method": "layerskip:exit_layer=2", **options}
    return model.generate(prompt(), custom_generate=dynexit.generate_hf, **options).tolist()


def newer(input_ids, cache=None, **kwargs):
    """As a model's forward is written since 5.24."""


def older(input_ids, past_key_values=None, **kwargs):
    """As it was written before, and is in repositories' own code."""


def test_a_cache_goes_by_either_name():
    assert tuple(map(cache_keyword, (newer, older))) == CACHE_NAMES
    assert [cache_of({"logits": 1, name: 2}) for name in CACHE_NAMES] == [2, 2]


def test_the_installed_release_is_understood():
    model = loaded("llama")
    passed = model(input_ids=prompt(), use_cache=True)
    assert cache_of(passed).get_seq_length() == 7
    again = model(input_ids=prompt(), **{cache_keyword(model.forward): cache_of(passed)})
    assert cache_of(again).get_seq_length() == 14


def test_what_says_nothing_is_let_pass_under_any_name():
    said = {name: DynamicCache() for name in (*CACHE_NAMES, "a_name_of_next_year")}
    refuse_arguments({**said, "nothing": None, "use_cache": True})
    refuse_arguments({"use_cache": False})


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_a_cache_with_tokens_is_refused_by_its_name(name):
    cache = DynamicCache()
    cache.update(torch.ones(1, 2, 3, 8), torch.ones(1, 2, 3, 8), 0)
    with pytest.raises(DynexitError, match=f"{name} already holds tokens"):
        refuse_arguments({name: cache})
    with pytest.raises(DynexitError, match="token_type_ids cannot be used"):
        refuse_arguments({"token_type_ids": torch.zeros(1, 7)})


@pytest.mark.parametrize("options", [{"use_cache": True}, {"use_cache": False}, {"empty": True}])
def test_an_idle_cache_changes_nothing(options):
    model, plain = loaded("llama"), loaded("llama").generate(prompt(), **GREEDY).tolist()
    name = cache_keyword(model.forward)
    given = {name: DynamicCache()} if options.get("empty") else options
    assert ours(model, **given) == plain
