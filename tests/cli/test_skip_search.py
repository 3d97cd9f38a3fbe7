"""`dynexit skip-search`: sets are tried on real texts, and the fastest is told and kept."""

import json
import shutil
from pathlib import Path

import pytest

import dynexit as package
from dynexit.decoding.controllers.skipping import Skip, method_of, settings_of
from dynexit.methods import make_controller
from dynexit.model.skips import Skips
from dynexit.skip_search import search
from dynexit.skips_found import file_beside

OPTIONS = ("-n", 6, "--device", "cpu", "--num-samples", 2)


def test_the_fastest_set_is_told_and_kept(tmp_path, checkpoint, dynexit):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a b c"}\n{"prompt": "d e f"}\n')
    file = tmp_path / "found.json"
    options = ("--task", f"jsonl:{rows}", "--steps", 11, "--out", file, *OPTIONS)
    code, out, err = dynexit("skip-search", checkpoint, *options)
    assert code == 0, err
    kept = json.loads(file.read_text())
    speeds = {one["method"]: one["tokens_per_second"] for one in kept["tried"]}
    assert kept["tokens_per_second"] == speeds[kept["method"]] == max(speeds.values()) > 0
    assert len(speeds) > 6
    assert out.startswith(f"{kept['method']}: ")


def test_every_set_writes_plain_text(checkpoint):
    lm = package.load(checkpoint, device="cpu", check=False)
    plain = lm.generate([5, 6, 7, 8], "vanilla", max_new_tokens=12).token_ids
    for skips, _ in search(lm, [[5, 6, 7, 8]], 10, 4).tried:
        assert lm.generate([5, 6, 7, 8], method_of(skips), max_new_tokens=12).token_ids == plain


def test_a_text_of_one_token_cannot_be_timed(tmp_path, checkpoint, dynexit):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a b c"}\n')
    options = ("--task", f"jsonl:{rows}", "--out", tmp_path / "no.json", "--device", "cpu")
    code, _, err = dynexit("skip-search", checkpoint, "-n", 1, *options)
    assert (code, "no prompt gives a text of two tokens" in err) == (2, True)
    assert not (tmp_path / "no.json").exists()


def test_a_method_names_its_set():
    for sublayers in ((2,), (3, 5), (0, 1, 9)):
        skips = Skips.of(5, sublayers)
        controller = make_controller(method_of(skips))
        assert isinstance(controller, Skip)
        controller.start(package.Facts(5, None, None, None, None, None, None))
        assert controller.skipping().skips == skips


@pytest.fixture
def copied(tmp_path, checkpoint, monkeypatch):
    """A model of its own, and a cache where nothing has been found yet."""
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def searched(dynexit, tmp_path, model, *options):
    """The settings of the set that a search finds."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a b c"}\n')
    given = ("--task", f"jsonl:{rows}", "--steps", 2, "--json", *OPTIONS, *options)
    code, out, err = dynexit("skip-search", model, *given)
    assert code == 0, err
    return json.loads(out)["method"].removeprefix("skip:")


def left_out(lm, method="skip"):
    """The settings of the set that a method leaves out, and the text."""
    controller = make_controller(method)
    made = lm.generate([5, 6, 7, 8], controller, max_new_tokens=12)
    return settings_of(controller.skipping().skips), controller.found, made.token_ids


def test_skip_leaves_out_what_was_found(tmp_path, copied, dynexit):
    before = package.load(copied, device="cpu", check=False)
    default, told, plain = left_out(before)
    assert told is None
    found = searched(dynexit, tmp_path, copied)
    lm = package.load(copied, device="cpu", check=False)
    assert left_out(lm) == (found, f"leaves out {found}, as skip-search found", plain)
    assert found != default
    assert left_out(lm, "skip:mlp=3") == ("mlp=3", None, plain)
    assert left_out(before)[0] == default  # what was looked for once is not looked for again


def test_what_is_used_is_told(tmp_path, copied, dynexit):
    assert json.loads(dynexit("info", copied, "--json", "--device", "cpu")[1])["skips"] is None
    found = searched(dynexit, tmp_path, copied, "--out", copied / "skips.json")
    told = f"leave out {found}, as skip-search found"
    assert told in " ".join(dynexit("info", copied, "--device", "cpu")[1].split())
    given = ("generate", "a b c", "--model", copied, "--device", "cpu", "-n", 4)
    told = f"skip leaves out {found}, as skip-search found"
    assert told in " ".join(dynexit(*given, "--method", "skip")[2].split())
    assert "as skip-search found" not in dynexit(*given, "--method", "skip:mlp=3")[2]
    record = json.loads(dynexit(*given, "--method", "skip", "--json")[1])
    assert record["found"] == f"leaves out {found}, as skip-search found"
    compared = dynexit(*given, "--method", "skip", "--compare")[2]
    assert told in " ".join(compared.split())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fingerprint": "0" * 16}, "a different model"),
        ({"layers": 3}, "a different model"),
        ({"left_out": []}, "names no sublayers"),
        ({"left_out": [99]}, "names no sublayers"),
        ({"left_out": ["2"]}, "left_out"),
        ({"left_out": None}, "left_out"),
        ({"more": 1}, "more"),
        (None, "is not JSON"),
    ],
)
def test_a_file_that_is_no_search_of_this_model_is_left_out(
    tmp_path, copied, dynexit, change, sentence
):
    file = copied / "skips.json"
    searched(dynexit, tmp_path, copied, "--out", file)
    kept = file.read_text()
    file.write_text(kept[:40] if change is None else json.dumps(json.loads(kept) | change))
    lm = package.load(copied, device="cpu", check=False)
    with pytest.warns(UserWarning, match=f"{sentence}.*It is left out"):
        assert left_out(lm)[1] is None


def test_what_lies_beside_a_gguf_file_is_named_after_it():
    assert file_beside(Path("a/b.gguf")) == Path("a/b.gguf.skips.json")
