"""The table of costs: lines between what was measured, and a file that may be missing or torn."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dynexit import DynexitError, load
from dynexit.costs import measuring, store
from dynexit.costs.measuring import BUDGET, measure_costs
from dynexit.costs.store import costs_of
from dynexit.decoding.costs import Costs
from dynexit.methods import make_controller
from dynexit.preparing import Known, facts_of

TABLE = Costs(
    (1, 2, 4),
    (1.0, 2.0, 3.0),
    (10.0, 10.0, 20.0),
    (2.0, 2.0, 4.0),
    0.5,
    (0.01, 0.02, 0.03),
    1.0,
    100,
)


def test_costs_lie_on_lines_between_what_was_measured():
    assert TABLE.layers(3, 1) == 3.0
    assert TABLE.layers(1, 3) == 2.5
    assert TABLE.layers(1, 6) == 4.0  # as between the last two
    assert TABLE.draft(4) == 2.0


def test_every_row_sees_the_whole_context():
    far = TABLE.at(64)
    assert far is TABLE.at(64)
    for rows, near, each in ((1, 1.0, 0.01), (2, 2.0, 0.02), (3, 2.5, 0.025), (6, 4.0, 0.04)):
        assert far.layers(2, rows) == pytest.approx(2 * (near + 64 * each))
        assert far.verify(2)[rows] == pytest.approx(1.0 + far.layers(2, rows) + far.unembed(rows))
    assert far.draft(4) == pytest.approx(4 * (TABLE.draft(1) + 0.64))
    assert far.draft_start(4) == pytest.approx(TABLE.draft_start(4))
    beside = replace(TABLE, draft_row=3.0)
    assert beside.at(64).draft_beside(2, 0) == pytest.approx(beside.draft_beside(2, 0) + 2 * 0.64)
    copied = replace(TABLE, copied_layer=0.25)
    assert (copied.at(64).copied_layer, far.copied_layer) == (0.89, 0.0)


def test_contexts_that_differ_little_share_a_table():
    measured = replace(TABLE, context=256)
    assert measured.at(0) is measured.at(256) is measured
    for context in range(257, 3_000):
        distance = measured.at(context).context - context
        assert abs(distance) <= context / 16
    tables = {id(measured.at(context)) for context in range(256, 4_096)}
    assert len(tables) <= 4 * 8 + 2
    assert measured.at(1_000).at(2_048).layer == pytest.approx(measured.at(2_048).layer)


def test_more_layers_in_a_draft_cost_more_each():
    deep = replace(TABLE, draft_layer=0.2, draft_depth=0.1)
    assert deep.draft(2) == pytest.approx(2 * 0.4)
    assert deep.draft(4) == pytest.approx(4 * 0.6)
    assert deep.draft(20) == 20.0  # and no more than a layer of any pass
    assert deep.draft_start(4) == pytest.approx(4 * 0.4)
    assert deep.draft_start(20) == 0.0


def test_a_trimmed_head_costs_its_share_and_the_call():
    assert TABLE.unembed(1) == 10.0
    assert TABLE.unembed(1, 25) == 2.0 + 8.0 / 4
    assert TABLE.unembed(1, 1000) == 10.0


def test_a_row_in_company_is_one_of_each():
    both = TABLE.shared(2)
    assert TABLE.shared(1) is TABLE
    assert TABLE.shared(2) is both
    assert both.layers(1, 1) == TABLE.layers(1, 2)
    assert both.layers(3, 3) == pytest.approx(TABLE.layers(3, 6))
    assert both.at(64).layers(1, 1) == TABLE.layers(1, 2) + 2 * 0.64  # a cache of its own for each
    assert both.at(64).layers(1, 2) == pytest.approx(TABLE.layers(1, 4) + 2 * 1.28)
    assert both.draft(1) == TABLE.layers(1, 2)  # not what stays in a cache
    around = 2 * TABLE.round  # of each, and for a drafted token as well
    assert both.unembed(1) == TABLE.unembed(2) + around
    assert both.unembed(1, 25) == TABLE.unembed(2, 25) + around
    assert both.verify(3)[1] == pytest.approx(TABLE.layers(3, 2) + TABLE.unembed(2) + around)


def test_a_table_survives_being_written():
    assert Costs.from_dict(TABLE.as_dict()) == TABLE


def test_costs_are_measured_once_and_kept(checkpoint: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path))
    made = []

    def measured(*asked):
        made.append(measure_costs(*asked))
        return made[-1]

    monkeypatch.setattr(store, "measure_costs", measured)
    model = load(checkpoint, check=False).model
    first = costs_of(model)
    (file,) = (tmp_path / "costs").iterdir()
    assert costs_of(model) is first
    assert costs_of(load(checkpoint, check=False).model) == first  # of the file
    assert len(made) == 1
    assert all(seconds > 0 for seconds in (*first.layer, *first.head))
    assert list(first.head) == sorted(first.head)  # more rows are never cheaper
    assert first.draft(1) >= 0
    assert first.vocabulary == model.vocabulary_size
    file.write_text(file.read_text()[:20])
    assert costs_of(load(checkpoint, check=False).model) == made[1]  # measured anew


def test_what_one_text_asks_for_changes_no_other(checkpoint: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path))
    lm = load(checkpoint, "fp32", "cpu", check=False, runtime="native")
    costs = lm.costs

    def facts(method):
        return facts_of(make_controller(method), lm.model, Known(lambda: [5, 6, 7]))

    narrow = facts("auto:int8=true,draft_vocabulary=1")
    copy = lm.model.draft_copy
    assert copy.kept_tokens == lm.model.draft_tokens.usual(lm.model.vocabulary_size)
    assert copy.kept_layers == lm.num_layers // 2
    after = facts("auto")
    assert after.costs is costs is lm.costs
    assert costs.copied_head == 0 < narrow.costs.copied_head
    assert after.draft_vocabulary == copy.kept_tokens
    assert facts("auto:int8=true").costs is narrow.costs
    assert lm.model.draft_copy is copy


@pytest.mark.parametrize(
    "change",
    [
        {"widths": [2, 4, 8]},
        {"widths": [1, 4, 2]},
        {"widths": []},
        {"layer": [1.0]},
        {"layer": [1.0, "2", 3.0]},
        {"layer": 3.0},
        {"layer": [0.0, 1.0, 2.0]},
        {"head": [1.0, float("nan"), 2.0]},
        {"round": -1.0},
        {"round": None},
        {"position": [0.1]},
        {"position": 0.1},
        {"vocabulary": 1.5},
        {"vocabulary": 0},
        {"more": 1},
    ],
)
def test_costs_of_another_shape_are_none(change):
    with pytest.raises(DynexitError):
        Costs.from_dict(json.loads(json.dumps(TABLE.as_dict() | change)))


def test_a_damaged_file_is_measured_anew(checkpoint: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "measure_costs", lambda model, copied: TABLE)
    costs_of(load(checkpoint, check=False).model)
    (file,) = (tmp_path / "costs").iterdir()
    for damage in ("[1, 2]", '{"widths": 3}', "[" * 100_000, "1" * 5_000):
        file.write_text(damage)
        assert costs_of(load(checkpoint, check=False).model) == TABLE
        assert Costs.from_dict(json.loads(file.read_text())) == TABLE


class Slow:
    """A model whose passes take their time, by a clock of its own."""

    def __init__(self, model, seconds):
        self._model, self._seconds, self.slept = model, seconds, 0.0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def clock(self):
        return self.slept

    def _sleep(self, layers):
        self.slept += layers * self._seconds

    def run_layers(self, hidden, rows, start, stop, *rest):
        self._sleep(stop - start)
        return self._model.run_layers(hidden, rows, start, stop, *rest)

    def verify(self, given, span, start, stop):
        self._sleep(stop - start)
        return self._model.verify(given, span, start, stop)


def test_measuring_a_slow_model_is_cut_short(checkpoint: Path, monkeypatch):
    model = Slow(load(checkpoint, check=False).model, 0.03)
    monkeypatch.setattr(measuring, "perf_counter", model.clock)
    costs = measure_costs(model)
    assert model.slept < 4 * BUDGET
    assert costs.layer == pytest.approx([0.03] * len(costs.widths))


class Distant(Slow):
    """Whose passes also take so long for each position that a row sees."""

    def rows(self, spans):
        (self._span,) = spans
        return self._model.rows(spans)

    def run_layers(self, hidden, rows, start, stop, *rest):
        self.slept += (stop - start) * EACH * self._span.start * self._span.length
        return super().run_layers(hidden, rows, start, stop, *rest)


EACH = 1e-4


def test_every_number_of_rows_has_its_price_of_a_position(checkpoint: Path, monkeypatch):
    monkeypatch.setattr(measuring, "CONTEXT", 32)
    model = Distant(load(checkpoint, check=False).model, 0.03)
    monkeypatch.setattr(measuring, "perf_counter", model.clock)
    costs = measure_costs(model)
    assert costs.context == 32
    assert costs.position == pytest.approx([EACH * width for width in costs.widths])
    for rows in (1, 5, 24):
        assert costs.at(96).layers(2, rows) == pytest.approx(2 * (0.03 + EACH * rows * 96))


def test_a_cache_that_cannot_be_written_is_no_error(checkpoint: Path, tmp_path: Path, monkeypatch):
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setenv("DYNEXIT_CACHE", str(occupied))
    assert costs_of(load(checkpoint, check=False).model).layer
