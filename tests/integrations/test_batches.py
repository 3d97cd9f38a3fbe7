"""A batch inside `generate`: its rows advance together, and each is what it would be alone."""

import pytest
import torch
from loaded_models import loaded, prompt
from transformers import StoppingCriteria, StoppingCriteriaList

import dynexit
from dynexit.decoding.controllers.layerskip import LayerSkip
from dynexit.integrations.transformers.runtimes import runtime_of
from dynexit.model.native.binding import runtimes

METHODS = ["vanilla", "layerskip:exit_layer=2,speculation_length=3", "finite-state", "del", "auto"]
LENGTHS = (3, 9, 1, 70, 6)  # one of them is served in a pass of its own


@pytest.fixture(scope="module", params=["shared", "accelerated"])
def pair(request):
    """A model as transformers has it, and the same one as a runtime of ours runs it."""
    plain, ours = loaded("llama"), loaded("llama")
    if request.param == "accelerated":
        if not runtimes():
            pytest.skip("the native library was not built")
        dynexit.accelerate(ours)
    return plain, ours


def batch(lengths=LENGTHS):
    """Prompts of these lengths, padded on the left."""
    rows = [prompt(length, seed)[0] for seed, length in enumerate(lengths)]
    ids = torch.zeros(len(rows), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, -len(row) :], mask[index, -len(row) :] = row, 1
    return {"input_ids": ids, "attention_mask": mask, "pad_token_id": 0}


def ours(model, method=METHODS[1], **options):
    options = {"max_new_tokens": 24, "do_sample": False, **options}
    return model.generate(**options, custom_generate=dynexit.generate_hf, method=method)


class UpTo(StoppingCriteria):
    """Ends a text with a token that another number than its length divides."""

    def __call__(self, input_ids, scores, **kwargs):
        del scores
        return (input_ids[:, -1] + input_ids[:, -3]) % 7 == 0


@pytest.mark.parametrize("method", METHODS)
def test_greedy_rows_are_plain_generates(pair, method):
    plain, model = pair
    options = {
        "max_new_tokens": 24,
        "do_sample": False,
        "repetition_penalty": 1.2,
        "eos_token_id": 5,  # without one, plain generate goes on past a row's end
        "stopping_criteria": StoppingCriteriaList([UpTo()]),
    }
    expected = plain.generate(**batch(), **options)
    made = ours(model, method, **batch(), **options, return_dict_in_generate=True)
    assert made.sequences.tolist() == expected.tolist()
    written = [one.tokens + 1 for one in made.statistics]
    assert len(set(written)) > 2  # they end at different times
    assert max(written) == expected.shape[1] - max(LENGTHS)
    if method not in ("auto", "del"):  # these draft where that pays on this machine
        assert any(one.drafted for one in made.statistics) == (method != "vanilla")


@pytest.mark.parametrize("method", METHODS)
def test_a_sampled_row_is_what_it_is_alone_with_its_seed(pair, method):
    model = pair[1]
    rule = {"do_sample": True, "temperature": 0.8, "top_k": 20, "repetition_penalty": 1.1}
    together = ours(model, method, **batch(), **rule, seed=7)[:, max(LENGTHS) :].tolist()
    assert len(set(map(tuple, together))) == len(LENGTHS)
    for index, length in enumerate(LENGTHS):
        ids = prompt(length, index)
        alone = ours(model, "vanilla", input_ids=ids, **rule, seed=7 + index)
        assert together[index] == alone[0, length:].tolist()


@pytest.mark.parametrize("method", METHODS[:3])
def test_equal_rows_cost_the_passes_of_one(pair, method, monkeypatch):
    model, passes = pair[1], []
    runtime = runtime_of(model)
    run_layers = type(runtime).run_layers

    def counted(self, *arguments):
        passes.append(arguments)
        return run_layers(self, *arguments)

    monkeypatch.setattr(type(runtime), "run_layers", counted)
    ids, counts = prompt(), []
    for rows in (2, 5):
        passes.clear()
        ours(model, method, input_ids=ids.repeat(rows, 1))
        counts.append(len(passes))
    assert counts[0] == counts[1] > 2


class Told(LayerSkip):
    """Keeps what it is told of."""

    def __init__(self):
        super().__init__(exit_layer=2, speculation_length=3)
        self.heard = []

    def start(self, facts):
        super().start(facts)
        self.heard.append(0)

    def observe(self, finished):
        super().observe(finished)
        self.heard[-1] += finished.tokens


def test_a_controller_of_ones_own_serves_one_row_after_the_other(pair):
    controller = Told()
    made = ours(pair[1], controller, **batch())
    assert made.tolist() == pair[0].generate(**batch(), max_new_tokens=24, do_sample=False).tolist()
    assert controller.heard == [23] * len(LENGTHS)  # the first token is the prefill's


def test_a_prompt_past_the_context_is_refused_before_any_row_is_written(pair, monkeypatch):
    model = pair[1]
    runtime = runtime_of(model)
    monkeypatch.setattr(type(runtime), "run_layers", lambda *a: pytest.fail("a row was written"))
    with pytest.raises(dynexit.DynexitError, match="context holds 128"):
        ours(model, **batch((3, 130)), max_new_tokens=4)
