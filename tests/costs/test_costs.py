"""The table of costs: lines between what was measured, and a file that may be missing or torn."""

from pathlib import Path

import pytest

from dynexit import load
from dynexit.costs.store import costs_of
from dynexit.costs.table import Costs

TABLE = Costs((1, 2, 4), (1.0, 2.0, 3.0), (10.0, 10.0, 20.0), (2.0, 2.0, 4.0), 0.5, 0.01, 1.0, 100)


def test_costs_lie_on_lines_between_what_was_measured():
    assert TABLE.layers(3, 1) == 3.0
    assert TABLE.layers(1, 3) == 2.5
    assert TABLE.layers(1, 6) == 4.0  # as between the last two
    assert TABLE.layers(2, 1, context=50) == pytest.approx(2 * (1.0 + 0.5))
    assert TABLE.draft(4) == 2.0


def test_a_trimmed_head_costs_its_share_and_the_call():
    assert TABLE.unembed(1) == 10.0
    assert TABLE.unembed(1, 25) == 2.0 + 8.0 / 4
    assert TABLE.unembed(1, 1000) == 10.0


def test_a_table_survives_being_written():
    assert Costs.from_dict(TABLE.as_dict()) == TABLE


def test_costs_are_measured_once_and_kept(checkpoint: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path))
    lm = load(checkpoint, check=False)
    first = costs_of(lm)
    (file,) = (tmp_path / "costs").iterdir()
    assert costs_of(lm) == first
    assert all(seconds > 0 for seconds in (*first.layer, *first.head))
    assert first.vocabulary == lm.model.choosable
    file.write_text(file.read_text()[:20])
    assert costs_of(lm).widths == first.widths  # measured anew


def test_a_cache_that_cannot_be_written_is_no_error(checkpoint: Path, tmp_path: Path, monkeypatch):
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setenv("DYNEXIT_CACHE", str(occupied))
    assert costs_of(load(checkpoint, check=False)).layer
