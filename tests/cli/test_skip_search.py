"""`dynexit skip-search`: sets are tried on real texts, and the fastest is told and kept."""

import json

import dynexit as package
from dynexit.decoding.controllers.skipping import Skip, method_of
from dynexit.methods import make_controller
from dynexit.model.skips import Skips
from dynexit.skip_search import search

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
        controller.start(package.Facts(5, None, None, None, None, None))
        assert controller.skipping().skips == skips
