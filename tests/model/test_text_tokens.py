"""Tokens of a text that drafts read beside the usual ones: the whole head's logits of these rows,
whatever texts share a pass.
"""

import pytest
import torch
from gguf_files import write_gguf
from tiny_checkpoints import SHAPE, prefilled, refusal

from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.drafting_rule import DraftingRule, Pricing
from dynexit.model.gguf.blocks import QUANTISED
from dynexit.model.loading import load_shape
from dynexit.model.native.binding import runtimes
from dynexit.model.native.blocks import load_blocks
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.text_tokens import TextTokens, texts_of

FREQUENT = (90, 3, 41, 7, 66, 12, 5, 88, 20, 1)
TEXT, OTHER = [41, 80, 2, 80, 3, 55], [9, 8, 7, 6, 5, 4, 96]
ROWS = torch.randn(5, SHAPE["hidden_size"], generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["eager", *sorted(runtimes())])
def model(request, eager):
    made = eager()
    return made if request.param == "eager" else NativeTransformer.packing(made, isa=request.param)


def following(model, text, limit=4):
    found = model.new_text_tokens(limit)
    found.follow(text)
    return found


def test_a_text_adds_what_is_not_usual_once_and_as_it_grows():
    found, text = TextTokens({1, 2}, 3), [1, 5, 2, 5, 6]
    found.follow(text)
    assert set(found.tokens) == {5, 6}
    found.follow([*text, 2, 6, 7])
    assert set(found.tokens) == {5, 6, 7}


def test_the_newest_stay_where_there_is_no_room_for_all():
    found, text = TextTokens(range(2), 3), [2, 3, 4, 5, 0, 6]
    found.follow(text)
    assert found.tokens == [4, 5, 6]
    found.follow([*text, 7])
    assert set(found.tokens) == {5, 6, 7}
    found.follow([*text, 7, 4, 7])
    assert set(found.tokens) == {4, 6, 7}


@pytest.mark.parametrize("named", [True, False])
def test_the_logits_are_the_whole_heads_of_both_and_others_are_none(model, named):
    whole = model.unembed(ROWS)
    if named:
        model.draft_by(DraftTokens(FREQUENT, 4))
    usual = FREQUENT[:4] if named else range(4)
    own = [following(model, TEXT)] * 2 + [following(model, OTHER)] * 3
    some = model.read_with(ROWS, 4, own, False)
    for place, text in ((slice(2), TEXT), (slice(2, 5), OTHER)):
        read = sorted({*usual, *text})
        assert torch.allclose(some[place][:, read], whole[place][:, read], atol=1e-5, rtol=1e-5)
        assert ((some[place] > -torch.inf).sum(1) == len(read)).all()


def test_readings_are_what_the_logits_say(model):
    model.draft_by(DraftTokens(FREQUENT, 4))
    own = [following(model, TEXT)] * 2 + [following(model, OTHER)] * 3
    logits, read = model.read_with(ROWS, 4, own, False), model.read_with(ROWS, 4, own, True)
    if isinstance(read, torch.Tensor):
        assert torch.equal(read, logits)
    else:
        assert read.tokens.tolist() == logits.argmax(-1).tolist()
        assert torch.allclose(torch.tensor(read.log_sum), logits.logsumexp(-1), atol=1e-5)


@pytest.mark.parametrize("isa", sorted(runtimes()))
def test_texts_that_share_a_pass_read_to_the_bit_what_they_read_alone(eager, isa):
    model = NativeTransformer.packing(eager(), isa=isa)
    own = [following(model, text) for text in (TEXT, OTHER, [], TEXT, list(range(97)))]
    together = model.read_with(ROWS, 4, own, True)
    for index, one in enumerate(own):
        alone = model.read_with(ROWS[index : index + 1], 4, [one], True)
        assert alone.tokens[0] == together.tokens[index]
        assert (alone.top[0], alone.log_sum[0]) == (together.top[index], together.log_sum[index])


def test_drafts_are_of_the_usual_tokens_and_the_texts(model):
    model.draft_by(DraftTokens(FREQUENT, 4))
    rule = DraftingRule(2, 40, limit=1, text_tokens=following(model, OTHER, 1))
    drafted = model.draft(prefilled(model, 3), 3, 5, rule, False).nodes.tokens
    assert len(drafted) == 40
    assert set(drafted) <= {FREQUENT[0], *OTHER}
    assert set(drafted) - {FREQUENT[0]}


def test_a_tree_has_children_of_both(model):
    floors = tuple([0.0] * 6)
    rule = DraftingRule(
        2, 2, pricing=Pricing(((0.5,), (0.4,), (0.3,)), floors, floors), limit=1,
        text_tokens=following(model, [55, 80], 1),
    )  # fmt: skip
    nodes = model.draft(prefilled(model, 3), 3, 5, rule, False).nodes
    assert {*nodes.tokens[:3]} == {0, 55, 80}


@pytest.mark.parametrize("kind", QUANTISED, ids=lambda kind: kind.name)
@pytest.mark.parametrize("named", [True, False])
def test_heads_in_blocks(tmp_path, kind, named):
    file = tmp_path / "m.gguf"
    write_gguf(file, kind=kind, hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    native = load_blocks(file, load_shape(file), torch.float32, None)
    if named:
        native.draft_by(DraftTokens(FREQUENT, 4))
    rows = torch.randn(3, 256, generator=torch.Generator().manual_seed(1))
    whole = native.unembed(rows)
    some = native.read_with(rows, 4, [following(native, TEXT)] * 3, False)
    read = sorted({*(FREQUENT[:4] if named else range(4)), *TEXT})
    assert torch.allclose(some[:, read], whole[:, read], atol=0.03 * float(whole.abs().max()))
    assert (some > -torch.inf).sum() == 3 * len(read)


def test_a_copy_in_int8_reads_the_texts_too(eager):
    native = NativeTransformer.packing(eager())
    copy, own = native.copy_for_drafts(2, 8), following(native, TEXT)
    whole, some = native.unembed(ROWS), copy.read_with(ROWS, 4, [own] * 5, False)
    read = sorted({*range(4), *TEXT})
    close = 0.05 * float(whole.abs().max())
    assert torch.allclose(some[:, read], whole[:, read], atol=close)
    assert (some > -torch.inf).sum() == 5 * len(read)


def test_what_does_not_fit_is_refused(eager):
    native = NativeTransformer.packing(eager())
    own = following(native, TEXT)
    assert "outside the head" in refusal(lambda: own.follow([*TEXT, 97]))
    assert "room" in refusal(lambda: type(own)(native, range(4), 98))


def test_neighbouring_rows_of_one_text_are_one():
    one, other = TextTokens((), 1), TextTokens((), 1)
    one.follow([5])
    assert not list(texts_of([other]))
    other.follow([6])
    found = list(texts_of([one, one, other, one]))
    assert found == [(slice(0, 2), one), (slice(2, 3), other), (slice(3, 4), one)]
