"""Drafts that stay on the device: those made token by token, and nobody waits for them."""

from dataclasses import replace

import pytest
import torch
from numbers_in import facts
from tiny import Fixed, decode, random_model, thrice

from dynexit import Plan
from dynexit.decoding.drafters.early_exit import EarlyExitDrafter
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.requests import drive
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.sequence import Decoding
from dynexit.model.crossing import Parcel
from dynexit.model.drafting_rule import Pricing
from dynexit.model.graphs import drafting
from dynexit.model.graphs import transformer as transformer_module
from dynexit.model.graphs.host import attend
from dynexit.model.graphs.transformer import RecordedTransformer

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
LONG = Plan(exit_layer=3, speculation_length=7)
ODDS = tuple(0.1 * part for part in range(1, 11))
PLANS = {
    "its length": LONG,
    "one token": replace(LONG, speculation_length=1),
    "threshold": replace(LONG, threshold=0.33),
    "threshold that all pass": replace(LONG, threshold=1e-9),
    "floors": replace(LONG, pricing=Pricing((ODDS,), (0.0,) * 7, (0.1,) * 7)),
    "floors of the first tokens": replace(
        LONG, exit_layer=1, pricing=Pricing((ODDS,), (0.0,) * 7, (0.0, 0.5))
    ),
}


class Always(Fixed):
    """Plans the same round forever, and may read shadow tokens."""

    def __init__(self, plan, reads=False):
        self.planned, self.reads_shadow = plan, reads


@pytest.fixture
def graphs():
    return RecordedTransformer(random_model(seed=16, depth_gain=0.7), thrice, attend)  # drafts vary


def started(model, plan, eos=frozenset(), reads=True):
    limits = Limits(40, model.config.max_positions, eos)
    return Decoding(model, Always(plan, reads), facts(model.config.num_layers), Job(PROMPT, limits))


@torch.inference_mode()
def draft_of(model, plan, eos, batch_size):
    sequence = started(model, plan, eos)
    drive(model, sequence.prefill())
    sequence.batch_size = batch_size
    draft = drive(model, EarlyExitDrafter().draft(sequence, plan))
    draft.arrive()
    return draft


def both(graphs, plan, eos=frozenset()):
    """On the device, and token by token in eager passes."""
    return draft_of(graphs, plan, eos, 1), draft_of(graphs.eager, plan, eos, 2)


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_draft_is_that_made_token_by_token(graphs, plan, eager):
    ours, theirs = both(graphs, plan)
    if eager:
        ours = draft_of(graphs.eager, plan, frozenset(), 1)
    assert ours.tokens == theirs.tokens
    assert ours.layer == theirs.layer
    if plan.reads_confidence:
        assert ours.confidences == pytest.approx(theirs.confidences, rel=1e-5)
    torch.testing.assert_close(ours.hidden, theirs.hidden)
    torch.testing.assert_close(ours.states, theirs.states)


def test_the_plans_end_drafts_at_other_tokens(graphs):
    lengths = {
        name: len(draft_of(graphs, plan, frozenset(), 1).tokens) for name, plan in PLANS.items()
    }
    assert lengths["its length"] == lengths["threshold that all pass"] == 7
    assert 1 < lengths["threshold"] < 7
    assert 1 < lengths["floors"] < 7
    assert lengths["floors of the first tokens"] == 2


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_draft_ends_with_an_eos_at_the_latest(graphs, plan):
    whole = draft_of(graphs, LONG, frozenset(), 1).tokens
    ours, theirs = both(graphs, plan, frozenset(whole[2:3]))
    assert ours.tokens == theirs.tokens
    rows = len(theirs.hidden)
    torch.testing.assert_close(ours.hidden[:rows], theirs.hidden)
    if plan.reads_confidence:
        assert len(ours.hidden) == rows


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("eos", [frozenset(), frozenset(range(10))])
def test_rounds_are_those_of_eager_passes(graphs, plan, eos):
    """With an EOS, too, that is drafted and rejected, or drafted where nobody looks."""
    models = graphs, graphs.eager
    found = [decode(model, PROMPT, Always(plan), 40, eos)[0] for model in models]
    ours, theirs = ([(r.drafted, r.accepted, r.tokens) for r in s.stats.rounds] for s in found)
    assert ours == theirs
    assert found[0].tokens == found[1].tokens
    assert found[0].finish_reason == found[1].finish_reason


@pytest.fixture
def crossings(monkeypatch):
    """Numbers that went to the host, in order: ("sent", how many) and ("opened", how many)."""
    seen = []

    class Watched(Parcel):
        def __init__(self, numbers):
            super().__init__(numbers)
            self._size, self._open = numbers.numel(), False
            seen.append(("sent", self._size))

        def open(self):
            if not self._open:
                seen.append(("opened", self._size))
            self._open = True
            return super().open()

    for module in (drafting, transformer_module):
        monkeypatch.setattr(module, "Parcel", Watched)
    return seen


@torch.inference_mode()
def one_round(graphs, plan):
    sequence = started(graphs, plan, reads=False)
    drive(graphs, sequence.prefill())
    yield
    drive(graphs, sequence.round())
    yield sequence.stats.rounds[-1]


def crossed(graphs, plan, crossings):
    """What crossed in one round after the prompt's, and the round."""
    steps = one_round(graphs, plan)
    next(steps)
    crossings.clear()
    last = next(steps)
    return list(crossings), last


def test_a_round_waits_once(graphs, crossings):
    """The draft's numbers were sent before verification's, so they are there with them."""
    seen, last = crossed(graphs, LONG, crossings)
    assert last.drafted == 7
    assert seen == [("sent", 3 * 7), ("sent", 3 * 8), ("opened", 3 * 8), ("opened", 3 * 7)]


def test_a_plain_step_waits_once(graphs, crossings):
    seen, _ = crossed(graphs, Plan(), crossings)
    assert seen == [("sent", 3), ("opened", 3)]


def test_a_token_is_looked_at_after_its_own_pass_was_launched(graphs, crossings, monkeypatch):
    run = RecordedTransformer.run_layers

    def told(self, *given):
        crossings.append("pass")
        return run(self, *given)

    monkeypatch.setattr(RecordedTransformer, "run_layers", told)
    seen, last = crossed(graphs, PLANS["threshold"], crossings)
    token = [("sent", 3), "pass", ("opened", 3)]
    read = [("sent", 3 * (last.drafted + 1)), ("opened", 3 * (last.drafted + 1))]
    assert seen == ["pass", *token * last.drafted, "pass", *read]


@pytest.mark.parametrize("plan", [LONG, PLANS["threshold"]], ids=["unseen", "looked at"])
def test_logits_that_are_no_numbers_end_a_draft(graphs, plan):
    sequence = started(graphs, plan)
    drive(graphs, sequence.prefill())
    graphs.eager.layer(1).down.weight.fill_(torch.nan)
    draft = drive(graphs, EarlyExitDrafter().draft(sequence, plan))
    draft.arrive()
    assert draft.tokens == []
    assert len(draft.hidden) >= 1


@torch.inference_mode()
def test_texts_that_share_passes(graphs):
    plans = [LONG, PLANS["threshold"], Plan(2, 3), Plan()]
    alone = [decode(graphs.eager, PROMPT, Always(plan), 40)[0].tokens for plan in plans]
    scheduler = Scheduler(graphs, batched=True)
    sequences = [started(graphs, plan) for plan in plans]

    def whole(sequence):
        sequence.batch_size = len(plans)
        yield from sequence.prefill()
        while sequence.finish_reason is None:
            yield from sequence.round()

    tasks = [scheduler.add(whole(sequence)) for sequence in sequences]
    while len(scheduler):
        scheduler.tick()
    assert [task.error for task in tasks] == [None] * len(plans)
    assert [sequence.tokens for sequence in sequences] == alone
