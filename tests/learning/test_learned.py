"""The folder of what was learned: read as it was written, refused where it is not that."""

import json
import os
import shutil
import warnings

import numpy as np
import pytest

import dynexit as package
from dynexit.decoding.successors import SuccessorTable
from dynexit.errors import DynexitError
from dynexit.learning import finding
from dynexit.learning.card import card
from dynexit.learning.learned import (
    ABOUT,
    ARRAYS,
    CARD,
    FORMAT,
    About,
    Figures,
    Recipe,
    read_learned,
    write_learned,
)
from dynexit.model.fingerprint import weights_fingerprint
from dynexit.model.places import BUNDLED

TABLE = SuccessorTable.of({(1, 2): [(3, 0.5), (4, 0.25)], (2,): [(5, 1.0)]})
FREQUENT = np.array([7, 3, 5])


def about(fingerprint="f" * 16):
    figures = Figures(10, 4, 6, (1, 2, 3, 4), (0, 1, 1, 2))
    recipe = Recipe(5, 600, 800, 256, 2000, chat=True)
    told = {"all": figures, "lists": figures}
    return About(FORMAT, "a/model", fingerprint, 9, recipe, "dynexit 1", "", told, {"512": 0.75})


@pytest.fixture
def folder(tmp_path):
    write_learned(tmp_path / "out", TABLE, FREQUENT, about(), card(TABLE, 3, about()))
    return tmp_path / "out"


def test_what_is_written_is_read(folder):
    found = read_learned(folder, 9)
    assert found.table.after([1, 2]) == TABLE.after([1, 2])
    assert found.frequent == (7, 3, 5)
    assert found.about.held_out == about().held_out
    assert found.about.recipe == about().recipe
    told = (folder / CARD).read_text()
    assert "| all | 10 | 40.0% | 60.0% | 40.0% (50%) | 30.0% (33%) | 20.0% (50%) | 10.0% |" in told
    assert "a table of 2 contexts" in told
    assert "| 512 | 75.0% |" in told


def change(folder, **values):
    file = folder / ABOUT
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / ABOUT).unlink(), "make such a folder with `dynexit learn`"),
        (lambda f: (f / ARRAYS).unlink(), "there is no such file"),
        (lambda f: (f / ABOUT).write_text("{"), "is not JSON"),
        (lambda f: (f / ABOUT).write_text("[]"), "format None"),
        (lambda f: change(f, format=99), "format 99"),
        (lambda f: change(f, recipe={}), "lacks 'texts'"),
        (lambda f: change(f, held_out={"all": {"positions": "x"}}), "lacks 'best'"),
        (lambda f: (f / ARRAYS).write_bytes(b"x" * 99), "not the one that learned.json is about"),
    ],
)
def test_what_is_damaged_is_refused_with_a_sentence(folder, damage, reason):
    damage(folder)
    with pytest.raises(DynexitError, match=reason) as told:
        read_learned(folder, 9)
    assert "\n" not in str(told.value)


def test_frequent_tokens_are_ids(tmp_path, monkeypatch):
    monkeypatch.setattr("dynexit.learning.learned.np.uint32", np.float32)
    write_learned(tmp_path, TABLE, FREQUENT, about(), "")
    monkeypatch.undo()
    with pytest.raises(DynexitError, match="frequent tokens are no list of ids"):
        read_learned(tmp_path, 9)


def test_a_pipe_is_not_opened(folder):
    (folder / ARRAYS).unlink()
    os.mkfifo(folder / ARRAYS)
    with pytest.raises(DynexitError, match="neither a regular file nor a folder"):
        read_learned(folder, 9)


def test_it_is_refused_for_fewer_tokens(folder):
    with pytest.raises(DynexitError, match="it is not for 7 tokens"):
        read_learned(folder, 7)


def test_a_folder_that_is_written_again_is_the_old_or_refused(folder, monkeypatch):
    other = SuccessorTable.of({(1,): [(2, 1.0)]})

    def full(*given):
        raise OSError("No space left on device")

    monkeypatch.setattr("dynexit.learning.learned.json.dumps", lambda *a, **k: "{}")
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DynexitError, match="cannot write"):
        write_learned(folder, other, FREQUENT, about(), "")
    assert len(read_learned(folder, 9).table) == 2
    assert sorted(file.name for file in folder.iterdir()) == sorted((ABOUT, ARRAYS, CARD))


@pytest.fixture
def model(tmp_path):
    """The bundled model, at a place of its own."""
    return shutil.copytree(
        BUNDLED, tmp_path / "model", ignore=shutil.ignore_patterns("learned"), dirs_exist_ok=True
    )


def write(folder, fingerprint):
    write_learned(folder, TABLE, FREQUENT, about(fingerprint), "")
    return folder


@pytest.fixture
def nothing_packaged(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "PACKAGED", tmp_path / "packaged")


@pytest.mark.usefixtures("nothing_packaged")
@pytest.mark.parametrize("where", ["beside", "cache", "package"])
def test_it_is_found_by_itself(model, where, monkeypatch, tmp_path):
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path / "cache"))
    fingerprint = weights_fingerprint(model)
    assert package.load(model, device="cpu", check=False).learned is None
    places = {
        "beside": model / "learned",
        "cache": tmp_path / "cache" / "learned" / fingerprint,
        "package": tmp_path / "packaged" / "some-name",
    }
    write(places[where], fingerprint)
    found = package.load(model, device="cpu", check=False).learned
    assert (len(found.table), found.frequent) == (2, (7, 3, 5))
    assert package.load(model, device="cpu", check=False, learned=False).learned is None


def test_a_gguf_file_has_a_folder_beside_it(tmp_path):
    assert finding.folder_beside(tmp_path / "a.Q4_1.gguf") == tmp_path / "a.Q4_1.gguf.learned"


@pytest.mark.usefixtures("nothing_packaged")
def test_what_a_user_names_must_be_of_this_model(model, tmp_path):
    theirs = write(tmp_path / "theirs", "0" * 16)
    with pytest.raises(DynexitError, match="was learned from a/model, a different model"):
        package.load(model, device="cpu", check=False, learned=theirs)
    with pytest.raises(DynexitError, match="there is no such file"):
        package.load(model, device="cpu", check=False, learned=str(tmp_path / "nowhere"))
    mine = write(tmp_path / "mine", weights_fingerprint(model))
    assert package.load(model, device="cpu", check=False, learned=mine).learned is not None


@pytest.mark.usefixtures("nothing_packaged")
def test_what_lies_beside_another_model_is_left_out_with_a_warning(model):
    write(model / "learned", "0" * 16)
    with pytest.warns(UserWarning, match="a different model.*It is left out"):
        lm = package.load(model, device="cpu", check=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lm.learned is None


@pytest.mark.usefixtures("nothing_packaged")
def test_a_folder_that_may_not_be_looked_into_is_as_if_there_were_none(model, monkeypatch):
    write(model / "learned", weights_fingerprint(model))
    usual = os.stat

    def refused(path, *given, **named):
        if ABOUT in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path, *given, **named)

    monkeypatch.setattr(os, "stat", refused)
    assert not finding.is_learned(model / "learned")
    assert package.load(model, device="cpu", check=False).learned is None


def test_useless_exits_are_no_advice_against_what_was_learned(model, monkeypatch):
    monkeypatch.setattr("dynexit.language_model.why_none_pays", lambda *given: "no exit pays")
    with pytest.warns(UserWarning, match="no exit pays.*run `dynexit learn`, or train the exits"):
        package.load(model, device="cpu", learned=False)
    write(model / "learned", weights_fingerprint(model))
    with pytest.warns(UserWarning, match='no exit pays.*"auto" drafts from what was learned'):
        package.load(model, device="cpu")


def test_a_fingerprint_is_of_weights_alone(model, tmp_path):
    before = weights_fingerprint(model)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").rename(model / "renamed.safetensors")
    assert weights_fingerprint(model) == before
    with (model / "renamed.safetensors").open("r+b") as file:
        file.seek(20_000_000 // 64 * 64)
        file.write(bytes(2**20))
    assert weights_fingerprint(model) != before


def test_what_comes_with_the_package_can_be_read():
    folders = [folder for folder in finding.PACKAGED.iterdir() if folder.is_dir()]
    assert folders
    for folder in folders:
        found = read_learned(folder, 2**25)
        assert found.table.num_bytes <= found.about.recipe.table_size
        assert found.about.held_out["all"].best > 0
        assert sum(file.stat().st_size for file in folder.iterdir()) < 4_000_000


def test_commands_take_a_folder_or_none(dynexit, model, tmp_path):
    mine = write(tmp_path / "mine", weights_fingerprint(model))
    base = ("info", model, "--device", "cpu", "--json")
    for given, contexts in ((mine, 2), ("none", None)):
        code, out, _ = dynexit(*base, "--learned", given)
        told = json.loads(out)["learned"]
        assert (code, told and told["contexts"]) == (0, contexts)
    code, out, err = dynexit(*base, "--learned", write(tmp_path / "theirs", "0" * 16))
    assert (code, out) == (2, "")
    assert "was learned from a/model" in err


def test_a_damaged_folder_that_is_named_is_told_when_loading(model, tmp_path):
    mine = write(tmp_path / "mine", weights_fingerprint(model))
    (mine / ARRAYS).write_bytes(b"x")
    with pytest.raises(DynexitError, match="run `dynexit learn` again"):
        package.load(model, device="cpu", check=False, learned=mine)
