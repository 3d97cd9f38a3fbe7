"""Methods by name, their settings, and controllers in a user's file."""

import pytest
from tiny import LOSSLESS, new_tokens, random_model

from dynexit import DynexitError, LanguageModel, Sampling
from dynexit.methods import make_controller

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def model():
    return random_model(depth_gain=0.7)


def test_an_unknown_method_is_refused_by_name(model):
    with pytest.raises(DynexitError, match=r"'turbo' is not known.*layerskip.*vanilla"):
        new_tokens(model, PROMPT, "turbo")


@pytest.mark.parametrize("method", LOSSLESS)
def test_an_unknown_setting_is_refused_by_name(model, method):
    with pytest.raises(DynexitError, match=f"'{method}' has no setting 'volume'"):
        new_tokens(model, PROMPT, method, volume=11)


def test_a_setting_of_another_method_is_refused(model):
    with pytest.raises(DynexitError, match=r"'vanilla' has no setting 'exit_layer': it takes"):
        new_tokens(model, PROMPT, "vanilla", exit_layer=2)
    with pytest.raises(DynexitError, match=r"'layerskip' has no setting 'omega'.*exit_layer"):
        new_tokens(model, PROMPT, "layerskip", omega=0.9)


def test_settings_that_are_none_are_left_at_their_defaults():
    assert make_controller("layerskip", speculation_length=None).speculation_length == 6


def test_a_controller_takes_no_settings_from_outside(model):
    with pytest.raises(DynexitError, match="exit_layer"):
        new_tokens(model, PROMPT, make_controller("layerskip"), exit_layer=2)


def test_sampling_is_given_once(model):
    with pytest.raises(DynexitError, match="top_k"):
        new_tokens(model, PROMPT, sampling=Sampling(), top_k=3)


USERS_FILE = """
from dataclasses import dataclass

from dynexit import Controller, Plan


@dataclass
class Mine(Controller):
    length: int = 3

    def plan(self):
        return Plan(2, self.length)


class NotOne:
    pass
"""


@pytest.fixture
def file(tmp_path):
    def write(source, name="mine.py"):
        path = tmp_path / name
        path.write_text(source)
        return path

    return write


@pytest.mark.parametrize("header", ["", "from __future__ import annotations\n"])
def test_a_controller_in_a_users_file(model, file, header):
    path = file(header + USERS_FILE)
    out = LanguageModel(model).generate(PROMPT, f"{path}:Mine", length=2, max_new_tokens=12)
    assert out.token_ids == new_tokens(model, PROMPT, max_new_tokens=12)
    assert {r.plan.exit_layer for r in out.stats.rounds} == {2}
    assert max(r.drafted for r in out.stats.rounds) == 2


def test_a_users_setting_is_checked_by_name(file):
    with pytest.raises(DynexitError, match=r"no setting 'width'.*length"):
        make_controller(f"{file(USERS_FILE)}:Mine", width=2)


@pytest.mark.parametrize("name", ["Missing", "NotOne", "Plan", ""])
def test_a_class_that_is_not_a_controller_is_refused(file, name):
    with pytest.raises(DynexitError, match=f"no class '{name}' that extends"):
        make_controller(f"{file(USERS_FILE)}:{name}")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('went wrong')", "RuntimeError: went wrong"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused_with_its_reason(file, source, told):
    with pytest.raises(DynexitError, match=f"cannot be run: {told}"):
        make_controller(f"{file(source)}:Mine")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DynexitError, match="no file"):
        make_controller(f"{tmp_path / 'gone.py'}:Mine")
