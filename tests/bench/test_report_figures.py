"""The figures of a report, and what is said where one is missing."""

import dataclasses
import itertools
import re

import pytest
from matplotlib.text import Text
from reporting import (
    all_records,
    del_records,
    grid_records,
    study_of,
    two_models,
    vanilla_records,
)

from dynexit.bench.report import writing
from dynexit.bench.report.figures import draw_all, figures, styled
from dynexit.bench.report.figures.fixed_pairs import ETPL, SPEED, compared, heat_values
from dynexit.bench.report.figures.style import GREY, OWN, colour_of, spread
from dynexit.bench.report.gathering import gather
from dynexit.bench.report.sections import SECTIONS
from dynexit.decoding.controllers import methods


def test_every_figure_of_the_report_is_there(whole):
    shown = re.findall(r"\]\((figures/[^)]+)\)", (whole / "report.md").read_text())
    assert sorted(shown) == sorted(f"figures/{f.name}.png" for f in figures())
    for address in shown:
        assert (whole / address).read_bytes().startswith(b"\x89PNG")
        assert (whole / address).with_suffix(".svg").exists()


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.name)
def test_a_figure_without_data_is_left_out_and_said_to_be(figure, tmp_path):
    assert figure.section in {section.title for section in SECTIONS}
    if figure.name == "round-time":
        return  # vanilla has rounds
    assert draw_all(figure, gather(vanilla_records()), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_report_of_vanilla_alone_says_what_the_figures_take(report):
    folder = report(vanilla_records())
    text = (folder / "report.md").read_text()
    assert [f.name for f in (folder / "figures").iterdir() if f.suffix == ".png"] == [
        "round-time.png"
    ]
    missing = [figure for figure in figures() if figure.name != "round-time"]
    assert all(
        f"No figure “{figure.title}”: it takes {figure.needs}." in text for figure in missing
    )


def test_several_models_stand_under_their_names(report, monkeypatch):
    drawn = [figure for figure in figures() if figure.name in ("speedup", "exit-layers")]
    monkeypatch.setattr(writing, "figures", lambda: drawn)
    folder = report(two_models())
    text = (folder / "report.md").read_text()
    assert text.count("### `tiny`") == text.count("### `other`") == 9
    assert "/home/ann" not in text
    names = {file.stem for file in (folder / "figures").iterdir()}
    assert {"speedup-tiny", "speedup-other", "exit-layers"} <= names
    assert "speedup" not in names


def test_heat_maps_hold_the_rates_of_their_rounds():
    study = study_of(all_records())
    speeds, per_layer = (heat_values(study, "alpha", heat) for heat in (SPEED, ETPL))
    assert speeds.shape == (4, 2, 2)
    # (2, 2) on alpha: rounds of 3, 3 and 2 tokens in the first, second and last quarter
    assert speeds[0, 1, 1] == pytest.approx(3 / (0.8 / 3), rel=1e-4)
    assert speeds[3, 1, 1] == pytest.approx(2 / (0.8 / 3), rel=1e-4)
    assert per_layer[1, 1, 1] == pytest.approx(3 / (2 * 2 + 4))
    assert speeds[2, 1, 1] != speeds[2, 1, 1]  # no round begins there: NaN


def test_a_method_s_colour_depends_on_its_name_alone():
    assert colour_of("del-e") == OWN["del-e"]
    assert colour_of("mine") == "#75b236"
    assert colour_of("vanilla") == GREY


def test_every_method_of_the_package_has_a_colour_of_its_own():
    own = {name: colour_of(name) for name in methods()}
    assert set(own) - {"vanilla"} <= set(OWN)
    assert len(set(own.values())) == len(own)
    assert GREY not in OWN.values()


def test_settings_make_a_shade_of_a_method_s_colour():
    names = [f"layerskip:exit_layer={layer}" for layer in range(1, 9)]
    assert len({colour_of(name) for name in ("layerskip", *names)}) == 9
    assert colour_of("peer:llama.cpp:7") != colour_of("peer:transformers:7")


@pytest.mark.parametrize("name", ["adaptation", "oracle", "threshold"])
def test_figures_show_the_methods_that_were_run(name):
    (figure,) = (figure for figure in figures() if figure.name == name)
    assert "del" not in (figure.title + figure.caption + figure.needs).lower().split()
    records = [*vanilla_records(), *del_records("auto"), *del_records("mine"), *grid_records()]
    with styled():
        canvas = figure.draw(study_of(records))
    texts = {text.get_text() for text in canvas.findobj(Text)}
    assert {"auto", "mine"} <= texts
    assert "del" not in texts


def test_curves_over_rounds_have_whole_ticks_and_are_not_clipped():
    (figure,) = (figure for figure in figures() if figure.name == "adaptation")
    with styled():
        canvas = figure.draw(study_of([*vanilla_records(), *del_records("auto")]))
    assert all(tick == int(tick) for axes in canvas.axes for tick in axes.get_xticks())
    curves = [
        line for axes in canvas.axes for line in axes.get_lines() if len(line.get_xdata()) > 1
    ]
    assert curves
    assert not any(line.get_clip_on() for line in curves)


def test_names_beside_curves_are_pushed_apart():
    assert spread([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    placed = spread([0.5, 0.5, 0.52], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(placed))
    assert spread([], 0.1) == []


def test_what_a_figure_has_no_room_for_is_the_slowest():
    slow = [dataclasses.replace(r, method="finite-state") for r in vanilla_records()]
    study = study_of([*vanilla_records(), *slow, *del_records()])
    assert study.fastest(study.methods, 1) == ["del"]
    assert study.fastest(["vanilla", "del"], 2) == ["vanilla", "del"]


def test_a_task_that_one_pair_alone_ran_on_has_no_row_of_heat():
    pair = "layerskip:exit_layer=1,speculation_length=1"
    alone = [dataclasses.replace(r, task="gamma") for r in all_records()]
    alone = [r for r in alone if r.method in ("vanilla", pair)]
    study = study_of([*all_records(), *alone])
    assert [task for task in study.tasks if compared(study, task)] == ["alpha", "beta"]
