"""Lookahead and Jacobi decoding: what is guessed, what is read, and how wide a window may be.

That their texts are plain decoding's is tested where every method's are.
"""

from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from numbers_in import finished, started
from tiny import FAMILIES, decode, layer_logits, random_model, scripted

from dynexit import DynexitError, Plan, Sampling
from dynexit.decoding import sequence as sequence_module
from dynexit.decoding.controllers.lookahead import STRETCH
from dynexit.decoding.costs import Costs
from dynexit.decoding.drafters.jacobi import JacobiDrafter
from dynexit.decoding.drafters.lookahead import MOST, LookaheadDrafter, Pool
from dynexit.decoding.plans import LookaheadSize
from dynexit.decoding.records import Draft
from dynexit.decoding.sampling import NO_TOKEN, Sampler
from dynexit.methods import make_controller
from dynexit.model.drafting_rule import depths
from dynexit.model.native.transformer import NativeTransformer

FREE_ROWS = Costs((1, 2), (1.0, 1.0), (0.5, 0.5), (0.1, 0.1), 1.0, (0.0, 0.0), 0.1, 29)
FAIR_ROWS = Costs((1, 2), (1.0, 1.03), (0.5, 0.5), (0.1, 0.1), 1.0, (0.0, 0.0), 0.1, 29)
COSTLY_ROWS = Costs((1, 2), (1.0, 1.2), (0.5, 0.5), (0.1, 0.1), 1.0, (0.0, 0.0), 0.1, 29)
LONG_ROWS = replace(FREE_ROWS, position=(0.0, 0.001))
DEAR_ROWS = Costs((1, 2), (1.0, 2.0), (0.5, 1.0), (0.1, 0.2), 1.0, (0.0, 0.0), 0.1, 29)
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


def text_of(tokens, alone=True, runs_trees=True, **sampling):
    """As much of a text as these drafters see."""
    return SimpleNamespace(
        tokens=list(tokens),
        alone=alone,
        sampler=Sampler(Sampling(**sampling), tokens),
        cache=SimpleNamespace(length=len(tokens) - 1),
        model=SimpleNamespace(
            runs_trees=runs_trees, vocabulary_size=99, device=torch.device("cpu")
        ),
    )


def drafted(drafter, text, levels, size=None):
    steps = drafter.draft(text, Plan(0, levels, settings=size))
    with pytest.raises(StopIteration) as stop:
        next(steps)
    return stop.value.value


def paths_of(draft):
    """Every path from the newest token to a leaf."""
    rows = range(1, len(draft.tokens) + 1)
    inner = {draft.parent_of(row) for row in rows}
    return sorted(tuple(draft.path_to(row)) for row in rows if row not in inner)


def test_the_window_moves_on_as_the_paper_has_it():
    """W = 3 columns of N - 1 = 2 tokens, for a target that says what comes next by counting up."""
    drafter, text = LookaheadDrafter(), text_of(range(50, 62))
    size = LookaheadSize(3, 3, 0)
    draft = drafted(drafter, text, 3, size)
    # Columns from places of the text: 50 51 (the newest instead of 50), 54 55, 58 59.
    assert paths_of(draft) == [(51,), (54, 55), (54, 58, 59)]
    assert drafter.reads
    drafter.read(text, draft, [token + 1 for token in [61, *draft.tokens]])
    text.tokens.append(62)
    # Of each column, the first token is gone and what the pass said has come: 52, 56, 60.
    assert paths_of(drafted(drafter, text, 3, size)) == [(52,), (55, 56), (55, 59, 60)]
    pool = drafter._pool
    assert pool.after(61, 9) == [(51, 52)]
    assert pool.after(54, 9) == [(55, 56)]  # the prompt's is the same
    assert pool.after(58, 9) == [(59, 60)]


def test_the_pools_ngrams_are_branches_beside_the_window():
    drafter, text = LookaheadDrafter(), text_of([7, 1, 2, 7, 1, 3, 7, 4, 5, 6, 7])
    draft = drafted(drafter, text, 9, LookaheadSize(0, 3, 2))
    assert paths_of(draft) == [(1, 3), (4, 5)]  # the latest two of three
    assert not drafter.reads
    draft = drafted(drafter, text, 9, LookaheadSize(0, 3, 7))
    assert paths_of(draft) == [(1, 2), (1, 3), (4, 5)]
    assert len(draft.tokens) == 5  # 1 is one row
    assert paths_of(drafted(drafter, text, 1, LookaheadSize(0, 3, 7))) == [(1,), (4,)]


@pytest.mark.parametrize(("width", "rows"), [(7, 55), (15, 119), (16, 127)])
def test_the_published_sizes_have_the_papers_rows(width, rows):
    tokens = [token for n in range(20) for token in (90, n, 20 + n, 40 + n, 60 + n)] + [90]
    drafter, text, fresh = LookaheadDrafter(), text_of(tokens), count(100)
    plan = started(make_controller("lookahead", window=width)).plan()
    draft = drafted(drafter, text, plan.speculation_length, plan.settings)
    for _ in range(5):  # until all columns differ
        drafter.read(text, draft, [next(fresh) for _ in range(len(draft.tokens) + 1)])
        draft = drafted(drafter, text, plan.speculation_length, plan.settings)
    assert len(draft.tokens) == rows == (width - 1) + 3 * width + 4 * width
    assert max(depths(draft.parents)) == plan.speculation_length == width + 2


def test_the_window_narrows_where_the_text_must_end_soon():
    drafter, text = LookaheadDrafter(), text_of(range(40))
    for levels in range(9, 0, -1):
        draft = drafted(drafter, text, levels, LookaheadSize(7, 5, 7))
        assert max(len(path) for path in paths_of(draft) or [()]) <= levels
        assert drafter.reads == (levels > 2)


@pytest.mark.parametrize(
    "how",
    [{"alone": False}, {"runs_trees": False}, {"temperature": 1.0, "acceptance": "speculative"}],
)
def test_without_trees_the_latest_ngram_is_drafted(how):
    drafter, text = LookaheadDrafter(), text_of([7, 1, 2, 7, 1, 3, 7, 4, 5, 6, 7], **how)
    draft = drafted(drafter, text, 9, LookaheadSize(5, 3, 5))
    assert (draft.tokens, draft.parents, drafter.reads) == ([4, 5], None, False)
    text.tokens += [4, 9, 7]
    assert drafted(drafter, text, 9, LookaheadSize(5, 3, 5)).tokens == [4, 9]
    assert len(draft.logits) == (2 if "acceptance" in how else 0)


def test_a_column_that_ends_in_no_number_begins_again_and_one_that_was_not_run_stays():
    drafter, text, size = LookaheadDrafter(), text_of(range(50, 62)), LookaheadSize(2, 3, 0)
    draft = drafted(drafter, text, 2, size)
    before = paths_of(draft)
    drafter.read(text, draft, [NO_TOKEN] * 9)
    assert paths_of(drafted(drafter, text, 2, size)) == before
    drafter.read(text, Draft(), [1])
    assert paths_of(drafted(drafter, text, 2, size)) == before


def test_the_pool_keeps_the_latest():
    pool = Pool()
    for token in [*range(MOST + 2), 5]:
        pool.add([0, token])
    assert pool.after(0, 3) == [(5,), (MOST + 1,), (MOST,)]
    assert sorted(pool.after(0, 99)) == [(token,) for token in range(2, MOST + 2)]
    assert pool.after(1, 3) == []


def test_a_plan_without_sizes_is_refused():
    with pytest.raises(DynexitError, match=r"without its settings"):
        next(LookaheadDrafter().draft(text_of([1]), Plan(0, 3)))


def test_jacobis_guesses_move_on_with_the_text():
    drafter, text = JacobiDrafter(), text_of([5, 6])
    draft = drafted(drafter, text, 4)
    assert draft.tokens == [6, 6, 6, 6]
    drafter.read(text, draft, [6, 7, 8, 9, 1])
    text.tokens += [6, 7]  # one was right
    draft = drafted(drafter, text, 4)
    assert draft.tokens == [8, 9, 1, 1]
    drafter.read(text, draft, [8, 9, NO_TOKEN, 3, 3])
    text.tokens += [8]
    assert drafted(drafter, text, 3).tokens == [9, 9, 9]
    text.tokens += [1] * 9  # another drafter's
    assert drafted(drafter, text, 2).tokens == [1, 1]


def test_jacobi_converges_in_a_round_for_each_wrong_guess_at_most():
    """Where each token depends on the one before alone, a right guess makes the next one right."""
    says = [(token + 1) % 11 for token in range(11)]
    plain, _ = decode(scripted(says, says), [0, 1, 2], "vanilla", 40)
    sequence, _ = decode(scripted(says, says), [0, 1, 2], "jacobi", 40)
    assert sequence.tokens == plain.tokens
    assert [r.accepted for r in sequence.stats.rounds[:4]] == [0, 0, 0, 0]
    assert sequence.stats.accepted == 0  # every guess is wrong until the token before it is known


def test_lookahead_copies_a_repetition():
    says = [(token + 1) % 11 for token in range(11)]
    sequence, _ = decode(scripted(says, says), [*range(11)] * 2, "lookahead:window=2", 41)
    assert [r.accepted for r in sequence.stats.rounds[:8]] == [4] * 8


RULES = {
    "greedy": Sampling(),
    "penalised": Sampling(repetition_penalty=1.3),
    "sampled": Sampling(1.0, top_k=9, seed=3),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_row_is_told_as_plain_decoding_would_choose_there(rule, monkeypatch):
    model, told = random_model(depth_gain=0.7), []

    def noting(self, text, draft, best):
        told.append((list(text.tokens), draft, best))
        return original(self, text, draft, best)

    original = LookaheadDrafter.read
    monkeypatch.setattr(LookaheadDrafter, "read", noting)
    sequence, _ = decode(model, PROMPT, "lookahead:window=3,ngram=3", 16, sampling=rule)
    assert told
    for tokens, draft, best in told:
        assert len(best) == len(draft.tokens) + 1
        for row in (0, len(best) // 2, len(best) - 1):
            whole = [*tokens, *draft.path_to(row)]
            seeded = Sampling(**{**vars(rule), "seed": sequence.sampler.seed})
            logits = layer_logits(model, whole)[-1, -1:]
            assert best[row] == Sampler(seeded, whole).choose(logits).tokens[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_native_texts_are_plain_decodings_at_every_size(family):
    eager = random_model(FAMILIES[family], depth_gain=0.6, dtype=torch.float32).to(torch.bfloat16)
    model, off_trunk = NativeTransformer.packing(eager, threads=2), 0
    plain, _ = decode(model, PROMPT, "vanilla", 60)
    for window, ngram, pool in (
        (1, 2, 16),
        (3, 3, 0),
        (7, 5, 7),
        (15, 5, 15),
        (16, 8, 16),
        (0, 4, 5),
    ):
        options = {"window": window, "ngram": ngram, "pool": pool}
        sequence, _ = decode(model, PROMPT, "lookahead", 60, **options)
        assert sequence.tokens == plain.tokens, options
        off_trunk += sum(
            r.accepted and list(r.path) != list(range(1, r.accepted + 1))
            for r in sequence.stats.rounds
        )
    assert off_trunk


def test_to_the_end_of_the_context():
    model = random_model(depth_gain=0.6)
    prompt = (PROMPT * 20)[: model.config.max_positions - 20]
    plain, _ = decode(model, prompt, "vanilla", 99)
    for method in ("lookahead:window=15", "jacobi:speculation_length=30"):
        sequence, _ = decode(model, prompt, method, 99)
        assert (sequence.tokens, sequence.finish_reason) == (plain.tokens, "context")


@pytest.mark.parametrize("method", ["vanilla", "lookup", "layerskip", "lookahead:window=0"])
def test_rows_are_read_for_nobody_who_does_not_ask(method, monkeypatch):
    monkeypatch.setattr(sequence_module, "choices", None)  # would fail
    sequence, _ = decode(random_model(depth_gain=0.6), PROMPT, method, 20)
    assert sequence.generated == 20


def planned(controller, rounds=1, accepted=0):
    """Plans of so many rounds, whose drafts have so many tokens accepted each."""
    plans = []
    for _ in range(rounds):
        plan = controller.plan()
        plans.append(plan)
        size = plan.speculation_length
        controller.observe(finished(size, min(accepted, size)))
    return plans


def test_prices_choose_the_window():
    free = started(make_controller("lookahead"), costs=FREE_ROWS).plan()
    assert free.settings == LookaheadSize(8, 5, 8)  # 63 rows: the table's
    assert free.speculation_length == 10
    fair = started(make_controller("lookahead"), costs=FAIR_ROWS).plan()
    assert fair.settings == LookaheadSize(1, 5, 1)
    dear = started(make_controller("lookahead"), costs=DEAR_ROWS).plan()
    assert dear.speculation_length == 0
    few = started(make_controller("lookahead", ngram=3, pool=2), costs=FAIR_ROWS).plan()
    assert few.settings == LookaheadSize(2, 3, 2)


def test_a_window_widens_with_what_is_accepted():
    controller = started(make_controller("lookahead"), costs=FAIR_ROWS)
    plans = planned(controller, 3 * STRETCH, accepted=3)
    assert [plan.settings.window for plan in plans[::STRETCH]] == [1, 6, 6]


def test_where_nothing_is_accepted_it_soon_decodes_plainly_and_rarely_tries_again():
    controller = started(make_controller("lookahead"), costs=COSTLY_ROWS)
    lengths = [plan.speculation_length for plan in planned(controller, 600)]
    assert all(lengths[:STRETCH])
    assert not any(lengths[STRETCH : 4 * STRETCH])
    assert 0 < sum(length > 0 for length in lengths[4 * STRETCH :]) < 100


def test_no_row_is_free_over_a_long_context():
    controller = started(make_controller("lookahead"), costs=LONG_ROWS)
    assert controller.plan().settings.window > 0
    controller = started(make_controller("lookahead"), costs=LONG_ROWS)
    controller.reach(4_000)
    assert controller.plan().speculation_length == 0


def test_texts_that_share_passes_are_given_a_chain():
    controller = started(make_controller("lookahead"), costs=FREE_ROWS)
    controller.share(3)
    assert controller.plan() == Plan(0, 4, drafter="lookahead", settings=LookaheadSize(0, 5, 1))


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("window", 17, "must be a whole number from 0 to 16 or 'measured'"),
        ("window", "wide", "must be a whole number from 0 to 16 or 'measured'"),
        ("ngram", 1, "must be a whole number from 2 to 8"),
        ("pool", -1, "must be a whole number from 0 to 16"),
    ],
)
def test_settings_out_of_bounds_are_refused(setting, value, sentence):
    with pytest.raises(DynexitError, match=sentence):
        make_controller("lookahead", **{setting: value})
