"""Exits that read the most frequent tokens: the same logits of fewer rows; the text stays."""

import pytest
import torch
from tiny_checkpoints import SHAPE, prefilled, refusal

import dynexit
from dynexit.model.draft_tokens import COVERED, DraftTokens, trimmed_vocabulary
from dynexit.model.drafting_rule import DraftingRule
from dynexit.model.native.binding import runtimes
from dynexit.model.native.transformer import NativeTransformer

FREQUENT = (90, 3, 41, 7, 66, 12, 5, 88, 20, 1)
CHOSEN = DraftTokens(FREQUENT, 4)
ROWS = torch.randn(5, SHAPE["hidden_size"], generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["eager", *sorted(runtimes())])
def model(request, eager):
    made = eager()
    return made if request.param == "eager" else NativeTransformer.packing(made, isa=request.param)


def test_the_logits_of_the_tokens_named_are_the_whole_heads_and_others_are_none(model):
    whole = model.unembed(ROWS)
    model.draft_by(CHOSEN)
    some = model.unembed(ROWS, 4)
    named = list(FREQUENT[:4])
    exact = 0 if model.rows_independent else 1e-5
    assert torch.allclose(some[:, named], whole[:, named], atol=exact, rtol=exact)
    assert (some > -torch.inf).sum() == 4 * len(ROWS)
    assert torch.equal(model.unembed(ROWS), whole)


def test_readings_are_tokens_not_places(model):
    model.draft_by(CHOSEN)
    for limit in (1, 4, len(FREQUENT)):
        read = model.read(ROWS, limit)
        best = read.argmax(-1).tolist() if isinstance(read, torch.Tensor) else read.tokens.tolist()
        assert best == model.unembed(ROWS, limit).argmax(-1).tolist()
        assert set(best) <= set(FREQUENT[:limit])


def test_more_tokens_than_were_named_are_the_first_ids(model):
    before = model.unembed(ROWS, 11)
    model.draft_by(CHOSEN)
    assert torch.equal(model.unembed(ROWS, 11), before)


def test_drafts_are_made_of_the_tokens_named(model):
    model.draft_by(CHOSEN)
    rule = DraftingRule(2, 6, limit=4)
    drafted = model.draft(prefilled(model, 3), 3, 5, rule, False).nodes.tokens
    assert len(drafted) == 6
    assert set(drafted) <= set(FREQUENT[:4])


def test_a_copy_in_int8_reads_the_same_tokens(eager):
    native = NativeTransformer.packing(eager())
    native.draft_by(CHOSEN)
    copy = native.copy_for_drafts(2, 8)
    whole = native.unembed(ROWS)[:, list(FREQUENT[:4])]
    some = copy.unembed(ROWS, 4)[:, list(FREQUENT[:4])]
    assert torch.allclose(some, whole, atol=0.05 * float(whole.abs().max()))


def test_ids_outside_the_vocabulary_are_refused(eager):
    native = NativeTransformer.packing(eager())
    assert "outside the vocabulary" in refusal(lambda: native.draft_by(DraftTokens((3, 97))))


def test_as_many_are_read_as_hold_nearly_all_of_the_models_text():
    frequent = tuple(range(8_191, -1, -1))
    enough = DraftTokens.of(frequent, {512: 0.9, 1_024: COVERED, 2_048: 1.0}, 8_192)
    assert enough.usual(8_192) == 1_024
    assert enough.named(3).tolist() == [8_191, 8_190, 8_189]
    never = DraftTokens.of(frequent, {512: 0.5}, 8_192)
    assert never.usual(8_192) == trimmed_vocabulary(8_192) == len(never.tokens)
    assert DraftTokens().usual(8_192) == trimmed_vocabulary(8_192)
    assert DraftTokens().named(3) is None


@pytest.mark.parametrize("runtime", ["native", "eager"])
def test_the_bundled_model_reads_what_it_writes_and_its_text_stays(runtime):
    prompt, methods = "Question: How many", ("auto", "del", "layerskip:exit_layer=4")
    lm = dynexit.load(runtime=runtime)
    ids = dynexit.load(runtime=runtime, learned=False)
    assert lm.model.draft_tokens.usual(8_192) < ids.model.draft_tokens.usual(8_192)
    plain = ids.generate(prompt, max_new_tokens=40, method="vanilla").token_ids
    assert all(
        lm.generate(prompt, max_new_tokens=40, method=one).token_ids == plain for one in methods
    )
