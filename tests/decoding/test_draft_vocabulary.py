"""Exits that choose among the first tokens only: other drafts, the same text."""

from functools import cache

import pytest
import torch
from tiny import LLAMA, WITH_EXITS, decode, random_model

from dynexit import DynexitError, Sampling
from dynexit.decoding.drafters.proposing import Proposal
from dynexit.decoding.facts import Facts
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.loop import finish
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.together import generate_together
from dynexit.methods import make_controller
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.parts import ByParts

PROMPT, KEPT = [3, 1, 4, 1, 5, 9, 2, 6], 12
RULES = {
    "greedy": Sampling(),
    "penalty": Sampling(repetition_penalty=1.3),
    "sampled": Sampling(1.0, top_k=9, min_p=0.01, seed=3),
}


@cache
def model_of(runtime):
    model = random_model(LLAMA, depth_gain=0.6, dtype=torch.float32)
    return NativeTransformer.packing(model) if runtime == "native" else model


@pytest.fixture
def drafted(monkeypatch):
    """Tokens that were drafted."""
    seen, add = [], Proposal.add

    def watched(proposal, logits):
        added = add(proposal, logits)
        seen.append(proposal.draft.tokens[-1])
        return added

    def telling(draft):
        def told(*given):
            found = draft(*given)
            seen.extend(found.nodes.tokens)
            return found

        return told

    monkeypatch.setattr(Proposal, "add", watched)
    for runtime in (NativeTransformer, ByParts):
        monkeypatch.setattr(runtime, "draft", telling(runtime.draft))
    return seen


@pytest.mark.thinned(3)
@pytest.mark.parametrize("runtime", ["eager", "native"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", WITH_EXITS)
@pytest.mark.parametrize("with_text", [True, False])
def test_the_text_is_vanillas_and_drafts_are_of_the_kept_tokens(
    drafted, method, rule, runtime, with_text
):
    model, sampling = model_of(runtime), RULES[rule]
    plain, _ = decode(model, PROMPT, max_new_tokens=40, sampling=sampling)
    kept = {"draft_vocabulary": KEPT, "text_tokens": with_text}
    other, _ = decode(model, PROMPT, method, max_new_tokens=40, sampling=sampling, **kept)
    assert other.new_tokens == plain.new_tokens
    assert max(plain.new_tokens) >= KEPT  # the target chooses among all
    assert drafted or "del-e-lim" in method  # which finds its first exit, layer 4 of 5, too late
    assert set(drafted) <= {*range(KEPT), *(other.tokens if with_text else ())}


@pytest.mark.parametrize("runtime", ["eager", "native"])
@pytest.mark.parametrize("rule", RULES)
def test_a_tokens_first_place_in_the_text_is_never_drafted_unless_it_is_usual(runtime, rule):
    model, method = model_of(runtime), "layerskip:exit_layer=4,speculation_length=4"
    kept = {"draft_vocabulary": 2, "text_tokens": True}
    sequence, chunks = decode(model, PROMPT, method, 80, sampling=RULES[rule], **kept)
    accepted = [chunk for chunk in chunks if chunk.source == "accepted"]
    seen, rare = set(PROMPT), 0
    for chunk in chunks:
        new = chunk.token_ids[0]
        rare += new >= 2 and chunk.source == "accepted"
        assert new < 2 or new in seen or chunk.source != "accepted"
        seen.add(new)
    assert accepted
    assert rare  # drafted, though it is not usual
    assert sequence.stats.accepted == len(accepted)


@pytest.mark.parametrize("rule", RULES)
def test_texts_that_share_passes_draft_as_alone(rule):
    model, method = model_of("native"), "layerskip:exit_layer=4,speculation_length=3"
    prompts = [PROMPT, [2, 7, 1, 8, 2, 8], [1, 6, 1, 8, 0, 3, 3], PROMPT[::-1]]

    def opened(prompt):
        controller = make_controller(method, draft_vocabulary=3, text_tokens=True)
        facts = Facts(model.config.num_layers, None, None, 3, None, None, None)
        limits = Limits(40, model.config.max_positions, frozenset())
        return Decoding(model, controller, facts, Job(prompt, limits, RULES[rule]))

    alone, together = ([opened(prompt) for prompt in prompts] for _ in range(2))
    for one in alone:
        finish(one)
    generate_together(together, Scheduler(model))
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        assert [(r.drafted, r.accepted) for r in one.stats.rounds] == [
            (r.drafted, r.accepted) for r in other.stats.rounds
        ]


def test_speculative_acceptance_takes_narrow_proposals(drafted):
    rule = Sampling(1.0, seed=5, acceptance="speculative")
    sequence, _ = decode(
        model_of("eager"), PROMPT, "layerskip", 60, sampling=rule, draft_vocabulary=KEPT
    )
    assert max(drafted) < KEPT <= max(sequence.new_tokens)
    assert sequence.stats.accepted > 0


def test_more_tokens_than_there_are_is_all_of_them():
    model = model_of("native")
    whole, narrow = (
        decode(model, PROMPT, "del", 40, draft_vocabulary=n)[0].stats for n in (None, 10**6)
    )
    assert [r.accepted for r in whole.rounds] == [r.accepted for r in narrow.rounds]


@pytest.mark.parametrize("value", [0, -3, "many", 2.5])
def test_no_number_of_tokens_is_refused(value):
    with pytest.raises(DynexitError, match="draft_vocabulary"):
        make_controller("del", draft_vocabulary=value)


def test_a_users_own_default_stands(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import dynexit\n\nclass Mine(dynexit.Controller):\n    draft_vocabulary = 7\n")
    assert make_controller(f"{file}:Mine").draft_vocabulary == 7
    assert make_controller(f"{file}:Mine", draft_vocabulary=5).draft_vocabulary == 5


def test_the_switch_is_true_or_false():
    with pytest.raises(DynexitError, match="text_tokens is 'no'"):
        make_controller("del", text_tokens="no")
    assert not make_controller("del").text_tokens
    assert make_controller("auto:text_tokens=true").text_tokens
