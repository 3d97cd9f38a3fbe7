"""Methods by name, their settings, and controllers in a user's file."""

import numpy as np
import pytest
from tiny import LOSSLESS, new_tokens, random_model

from dynexit import DynexitError, LanguageModel, Sampling
from dynexit.methods import make_controller, parse_settings, split_name

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def model():
    return random_model(depth_gain=0.7)


def test_an_unknown_method_is_refused_by_name(model):
    with pytest.raises(DynexitError, match=r"'turbo' is not known.*layerskip.*vanilla"):
        new_tokens(model, PROMPT, "turbo")


@pytest.mark.parametrize("method", LOSSLESS)
def test_an_unknown_setting_is_refused_by_name(model, method):
    with pytest.raises(DynexitError, match=f"'{split_name(method)}' has no setting 'volume'"):
        new_tokens(model, PROMPT, method, volume=11)


def test_a_setting_of_another_method_is_refused(model):
    with pytest.raises(DynexitError, match=r"'vanilla' has no setting 'exit_layer': it takes"):
        new_tokens(model, PROMPT, "vanilla", exit_layer=2)
    with pytest.raises(DynexitError, match=r"'layerskip' has no setting 'omega'.*exit_layer"):
        new_tokens(model, PROMPT, "layerskip", omega=0.9)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("layerskip:exit_layer=abc", "exit_layer is 'abc': it must be a whole number from "),
        ("layerskip:exit_layer=3.5", "exit_layer is 3.5: it must be a whole number from "),
        ("layerskip:exit_layer=true", "exit_layer is True: it must be a whole number from "),
        ("layerskip:exit_layer=", "setting 'exit_layer=' is not of the form name=value."),
        ("layerskip:exit_layer=[", "setting 'exit_layer=[' has a value that cannot be read."),
        (
            "layerskip:speculation_length=x",
            "speculation_length is 'x': it must be a whole number",
        ),
        ("layerskip:speculation_length=null", "speculation_length is None"),
        ("finite-state:speculation_length=true", "speculation_length is True"),
        ("two-model:speculation_length=2.0", "speculation_length is 2.0"),
        ("del:max_layer=x", "max_layer is 'x': it must be a whole number from "),
        ("del-e:omega=much", "omega is 'much': it must be a number above 0"),
        ("del:omega=true", "omega is True: it must be a number above 0"),
        ("del:cap=5", "cap is 5: it must be 'threshold' or 'planned'."),
        ("auto:exit_layer=x", "exit_layer is 'x': it must be a whole number from "),
        ("auto:int8=maybe", "int8 is 'maybe': it must be true or false."),
        ("auto:exits=x", "exits is 'x': it must be true or false."),
        ("auto:lookup=5", "lookup is 5: it must be true or false."),
        ("auto:carry=foo", "carry is 'foo': it must be true or false."),
        ("auto:draft_vocabulary=true", "draft_vocabulary is True"),
        ("auto:draft_vocabulary=0", "draft_vocabulary is 0: it must be a whole number from 1 to"),
        ("del:omega=.nan", "omega is nan: it must be a number above 0 and at most 1."),
        ("del:omega=0", "omega is 0: it must be a number above 0 and at most 1."),
        ("del:prompt_positions=1000000", "prompt_positions is 1000000: it must be a whole number"),
        ("del:max_layer=0", "max_layer is 0: it must be a whole number from 1 to 1000."),
        ("layerskip:exit_layer=0x" + "f" * 90, "exit_layer is a number of 360 bits: it must be"),
    ],
)
def test_a_setting_of_a_wrong_type_is_one_sentence(method, sentence):
    with pytest.raises(DynexitError) as error:
        make_controller(method)
    assert str(error.value).startswith(sentence)


UNREADABLE = (
    *("0x_", "0b_", "1" * 5_000, "0x" + "_" * 9, "2026-99-99", "2026-01-01 99:99:99"),
    *("2026-01-01 00:00:00 +99:99", "*a", "&a [*a", "!!int x", "!!bool x", "!!timestamp x"),
    *("!!int ''", "!!float x", "!!python/object:os.system x", "[" * 5_000, "{[1]: 2}", "\x00"),
    *("\ud800", "!!binary x", "a: b: c", "%", "@"),
)


@pytest.mark.parametrize("value", UNREADABLE, ids=lambda value: ascii(value[:12]))
def test_a_value_that_cannot_be_read_is_one_sentence(value):
    with pytest.raises(DynexitError, match=r"has a value that cannot be read\.$") as error:
        parse_settings([f"exit_layer={value}"])
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("value", ["1" + "0" * 4_000, "[" + "1, " * 9_000 + "]", "x" * 9_000])
def test_a_long_value_is_cut_in_the_sentence(value):
    with pytest.raises(DynexitError, match=r"exit_layer is .*: it must be") as error:
        make_controller("layerskip", **parse_settings([f"exit_layer={value}"]))
    assert len(str(error.value)) < 150


def test_settings_of_their_own_types_are_taken():
    assert make_controller("layerskip:exit_layer=null").exit_layer is None
    assert make_controller("draft-verify:gamma=1,step=1e-3").step == 1e-3
    assert make_controller("del:cap=planned,max_layer=8,threshold=no").threshold is False
    assert make_controller("layerskip", exit_layer=np.int64(3)).exit_layer == 3


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


UNUSUAL = """
from typing import TYPE_CHECKING

from dynexit import Controller

if TYPE_CHECKING:
    from elsewhere import Unknown


class Mine(Controller):
    def __init__(self, bare=1, text: "Unknown" = None, odd: 7 = 7, listed: list[int] = (), **rest):
        self.taken = bare, text, odd, listed
"""


def test_a_users_unusual_annotations_are_let_be(file):
    method = f"{file(UNUSUAL)}:Mine:bare=x,text=3,odd=yes,listed=abc"
    assert make_controller(method).taken == ("x", 3, True, "abc")


def test_a_users_setting_of_a_wrong_type_is_refused(file):
    for header in ("", "from __future__ import annotations\n"):
        with pytest.raises(DynexitError, match=r"length is 'x': it must be a whole number\."):
            make_controller(f"{file(header + USERS_FILE)}:Mine:length=x")


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
    with pytest.raises(DynexitError, match="does not exist"):
        make_controller(f"{tmp_path / 'gone.py'}:Mine")
