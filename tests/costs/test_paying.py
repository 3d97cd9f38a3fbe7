"""Whether an exit pays: one judgement, by what passes cost, for the warning, `info` and `auto`."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dynexit import load, synth
from dynexit.cli.info import recommendation
from dynexit.costs import store
from dynexit.costs.store import costs_of
from dynexit.decoding.costs import Costs, rough_costs
from dynexit.decoding.paying import MARGIN, Promise, best_promise, copy_price, draft_price, pays
from dynexit.decoding.records import ShadowTokens
from dynexit.methods import make_controller
from dynexit.model.draft_tokens import trimmed_vocabulary
from dynexit.replay.running import Replaying, replay
from dynexit.replay.trace import Trace, TracedText, TraceInfo
from dynexit.shapes import SHAPES

# A layer is 1, a row more of it 0.1; the whole head 4, a call of it 0.5; a round 2 around passes.
TABLE = Costs((1, 2), (1.0, 1.1), (4.0, 4.4), (0.5, 0.5), 0.8, (0.0, 0.0), 2.0, 100, draft_call=0.3)
# The same at SmolLM2-135M's shape: 30 layers, and a head that is eight of them.
LARGE_HEAD = rough_costs(8.0, 49_152)


def test_a_draft_costs_its_layers_and_the_head_that_it_reads():
    token, ends, reused = draft_price(TABLE, 3, None)
    assert token == pytest.approx(3 * 0.8 + 4.0)
    assert ends == pytest.approx(0.3 + 3 * 0.2 + 3 * 0.8)
    assert reused == 3
    assert draft_price(TABLE, 3, 20).token == pytest.approx(3 * 0.8 + 0.5 + 3.5 / 5)
    copied = replace(TABLE, copied_layer=0.5, copied_head=0.7)
    assert copy_price(copied, 3) == pytest.approx((3 * 0.5 + 0.7, 0.3, 0))


def test_the_promise_is_tokens_over_seconds_beside_a_plain_step():
    agreement = [0.2, 0.6, 0.9, 0.9]  # of five layers
    plain = 2.0 + 5 * 1.0 + 4.0
    found = [
        (
            (1 - a ** (d + 1))
            / (1 - a)
            * plain
            / (
                d * (e * 0.8 + 0.5 + 3.5 / 10)  # tokens, reading a tenth of the head
                + 0.3 + e * 1.0  # beginning, and the pass of the last token
                + 2.0 + (5 - e) * (1.0 + 0.1 * d) + 4.0 + 0.4 * d
            ),
            e,
            d,
        )
        for e, a in enumerate(agreement, start=1)
        for d in range(1, 19)
    ]  # fmt: skip
    exits = dict(enumerate(agreement, start=1))
    assert best_promise(TABLE, 5, exits, 10) == pytest.approx(max(found))
    assert best_promise(TABLE, 5, {2: 0.6}, 10).exit_layer == 2
    assert best_promise(TABLE, 5, {1: 1.0}, 10).length > 10  # always right: no closed form
    assert best_promise(TABLE, 1, {}, 10) == Promise(1.0, 0, 0)


def test_an_exit_must_make_up_for_the_head_that_it_reads():
    """Ten in a hundred would pay for a layer of thirty, which is all that was counted once."""
    tenth = {1: 0.10}
    assert MARGIN < (1 + 0.10) / (31 / 30)  # tokens per layer
    assert not best_promise(LARGE_HEAD, 30, tenth, None).pays
    assert not best_promise(LARGE_HEAD, 30, tenth, trimmed_vocabulary(49_152)).pays
    assert best_promise(LARGE_HEAD, 30, {1: 0.75}, 6_144).pays
    whole = best_promise(LARGE_HEAD, 30, {1: 0.75}, None).speedup
    assert whole < best_promise(LARGE_HEAD, 30, {1: 0.75}, 6_144).speedup


@pytest.mark.parametrize(("tokens", "worth"), [(1.04, False), (1.06, True)])
def test_a_round_pays_from_the_margin_on(tokens, worth):
    assert pays(2 * tokens, seconds=6.0, plain=3.0) is worth
    assert Promise(tokens, 1, 1).pays is worth


@pytest.fixture(scope="module")
def useless(tmp_path_factory):
    """Exits as SmolLM2's: right 5 to 15 % of the time, below a head that is many layers' worth.

    Attention adds nothing, or all that such a model says would soon be one token.
    """
    folder = tmp_path_factory.mktemp("useless") / "model"
    tiny = replace(SHAPES["tiny"], vocab_size=8_192, hidden_size=64, num_layers=24)
    shape = replace(tiny, intermediate_size=192, num_heads=2, num_kv_heads=1, head_dim=32)
    random_model = synth.random_model

    def unmixed(*arguments):
        model = random_model(*arguments)
        for layer in model.layers:
            layer.out.weight.zero_()
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, "large head", shape)
        patch.setattr(synth, "random_model", unmixed)
        synth.synthesise(folder, "large head", {1: 0.11, 23: 0.13}, torch.float32, zipf=0.8)
    return folder


@pytest.fixture
def unmeasured(tmp_path: Path, monkeypatch):
    """Nothing is known of any model, and what is measured is a table."""
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        store, "measure_costs", lambda model, copied: rough_costs(12.0, model.vocabulary_size)
    )


@pytest.mark.usefixtures("unmeasured")
def test_useless_exits_are_warned_of_before_costs_are_measured_and_after(useless):
    with pytest.warns(UserWarning, match="by the sizes of its layers and its head"):
        model = load(useless).model
    costs_of(model)
    with pytest.warns(UserWarning, match="by what passes cost on this machine"):
        load(useless)


@pytest.mark.usefixtures("unmeasured")
def test_the_bundled_model_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm = load()
        costs_of(lm.model)
        load()


@pytest.mark.usefixtures("unmeasured")
def test_info_recommends_none_of_them(dynexit, useless):
    code, out, _ = dynexit("info", useless, "--json")
    record = json.loads(out)
    assert code == 0
    assert 0.05 < max(record["agreement"][:-1]) < 0.2
    assert record["promised_speedup"] < MARGIN
    assert (record["best_exit_layer"], record["best_speculation_length"]) == (0, 0)
    assert recommendation(record).startswith("no early exit pays")


def test_auto_writes_plain_text_with_them(useless):
    lm = load(useless, check=False)
    plain = lm.generate("Once upon a time", "vanilla", max_new_tokens=40)
    drafted = lm.generate("Once upon a time", "auto", max_new_tokens=40)
    assert drafted.token_ids == plain.token_ids


def unlucky(seed, tokens, share, depth=30):
    """A text whose exits are right now and then, however sure they are."""
    random = np.random.default_rng(seed)
    right = random.random((depth, tokens)) < share
    right[-1] = True
    said = np.arange(tokens + 1, dtype=np.int32) + 10
    best = np.where(right, said[1:], 3).astype(np.int32)
    sure = random.uniform(0.3, 0.9, (depth, tokens)).astype(np.float32)
    others = np.full((depth, tokens, 7), 4, np.int32), np.repeat(0.1 * sure[..., None], 7, 2)
    read = (
        np.concatenate((best[..., None], others[0]), 2),
        np.concatenate((sure[..., None], others[1]), 2),
    )
    return TracedText(f"text-{seed}", 1, 0, said, *read, *read)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("sampled", "few", "speed"), [(True, 40, 0.99), (False, 60, 0.95)])
def test_auto_drafts_hardly_ever_with_such_exits(seed, sampled, few, speed):
    """It did in 351 of 353 rounds, and 30 tokens were accepted."""
    text, other = unlucky(seed, 353, 0.085), unlucky(seed + 100, 64, 0.1)
    info = TraceInfo("SmolLM2", 30, 49_152, 8_192, trimmed_vocabulary(49_152))
    exits = tuple(range(1, 30))
    sample = ShadowTokens(other.agreement[:-1], other.confidence[:-1, :, 0], exits)
    trace = Trace(info, [text], sample if sampled else None)
    told = replay(Replaying(trace, LARGE_HEAD, None), text, make_controller("auto:lookup=false"))
    plain = replay(Replaying(trace, LARGE_HEAD, None), text, make_controller("vanilla"))
    assert sum(r.drafted > 0 for r in told.rounds) <= few
    assert plain.decode_seconds / told.decode_seconds > speed
