"""Commands as a user types them, on a real checkpoint folder."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dynexit import __version__
from dynexit.costs import store
from dynexit.decoding.costs import rough_costs
from dynexit.methods import DEFAULT_METHOD
from dynexit.synth import synthesise


def test_generate_streams_text_and_sums_up(dynexit, checkpoint: Path) -> None:
    code, out, err = dynexit("generate", "Hello", "-m", checkpoint, "-n", 12, "--method", "del")
    assert code == 0
    assert out.strip()
    assert "del: 12 tokens (length)" in err
    assert err.endswith("drafted tokens accepted\n")  # what colours mean needs colours


def test_json_holds_text_ids_and_statistics(dynexit, checkpoint: Path) -> None:
    code, out, _ = dynexit("generate", "Hello", "-m", checkpoint, "-n", 12, "--json")
    record = json.loads(out)
    assert code == 0
    assert len(record["token_ids"]) == 12
    assert record["stats"]["tokens"] == 11
    assert len(record["stats"]["round_records"]["drafted"]) == record["stats"]["rounds"]


def test_prompt_from_file_and_standard_input(
    dynexit, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes("\ufeffGrüße\r\n\n".encode())
    base = ("generate", "-m", checkpoint, "-n", 5, "--json")

    def texts(end: str, *options: str) -> set[str]:
        _, argument, _ = dynexit(*base, f"Grüße{end}")
        _, from_file, _ = dynexit(*base, "-f", file, *options)
        with file.open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            _, from_stdin, _ = dynexit(*base, *options)
        return {json.loads(out)["text"] for out in (argument, from_file, from_stdin)}

    whole, stripped = texts("\r\n\n"), texts("", "--strip")
    assert len(whole) == len(stripped) == 1
    assert whole != stripped


def test_text_that_is_not_utf8_is_one_sentence(
    dynexit, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"caf\xe9")
    with file.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        from_stdin = dynexit("generate", "-m", checkpoint)
    as_argument = dynexit("generate", os.fsdecode(b"caf\xe9"), "-m", checkpoint)
    stop = dynexit("generate", "x", "--stop", os.fsdecode(b"\xe9"), "-m", checkpoint)
    for code, out, err in (from_stdin, as_argument, stop):
        assert (code, out) == (2, "")
        assert "is not UTF-8 text" in err
        assert err.count("\n") == 1


def test_compare_says_that_every_method_wrote_the_same(dynexit, checkpoint: Path) -> None:
    code, out, _ = dynexit("generate", "Hi", "-m", checkpoint, "-n", 16, "--compare", "--json")
    rows = json.loads(out)["methods"]
    assert code == 0
    assert {"vanilla", "del", "layerskip", "finite-state", "draft-verify"} <= set(rows)
    assert "early-exit" not in rows
    assert all(row["identical"] for row in rows.values())
    code, out, _ = dynexit(
        "generate", "Hi", "-m", checkpoint, "-n", 16, "--compare", "--method", "early-exit"
    )
    assert code == 0
    assert "early-exit" in out


def test_options_reach_method_and_sampling(dynexit, checkpoint: Path) -> None:
    base = ("generate", "Hi", "-m", checkpoint, "-n", 20, "--json", "--temperature", 0.9)
    sampling = ("--seed", 5, "--top-k", 50, "--top-p", 0.95, "--min-p", 0.01)
    _, first, _ = dynexit(*base, *sampling, "--method", "vanilla")
    _, second, _ = dynexit(
        *base, *sampling, "--method", "layerskip", "--exit-layer", 5, "--speculation-length", 2
    )
    _, planned, _ = dynexit(
        *base, *sampling, "--method", "del", "--cap", "planned", "--set", "omega=0.9"
    )
    texts = [json.loads(out) for out in (first, second, planned)]
    assert len({t["text"] for t in texts}) == 1
    rounds = texts[1]["stats"]["round_records"]
    assert {layer for layer in rounds["exit_layer"] if layer is not None} == {5}
    assert max(rounds["drafted"]) == 2


def test_a_users_own_method(dynexit, checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import dynexit\n\n\nclass Two(dynexit.Controller):\n"
        "    def plan(self):\n        return dynexit.Plan(exit_layer=2, speculation_length=2)\n"
    )
    code, out, _ = dynexit(
        "generate", "Hi", "-m", checkpoint, "-n", 12, "--json", "--method", f"{file}:Two"
    )
    assert code == 0
    assert json.loads(out)["stats"]["drafted"] > 0


def test_where_a_text_ends_is_said_by_options(dynexit, checkpoint: Path) -> None:
    def tokens(*more: object) -> list[int]:
        code, out, err = dynexit("generate", "Hi", "-m", checkpoint, "-n", 12, "--json", *more)
        assert code == 0, err
        ids: list[int] = json.loads(out)["token_ids"]
        return ids

    plain = tokens("--ignore-eos")
    stop = plain[4]
    assert len(plain) == 12
    assert tokens("--stop-token", stop, "--ignore-eos") == plain[: plain.index(stop)]
    late = tokens("--stop-token", stop, "--ignore-eos", "--min-new-tokens", 9)
    assert len(late) >= 9
    assert stop not in late


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generate", "x", "--min-new-tokens", "200"], "min_new_tokens is 200"),
        (["generate", "x", "--stop-token", "99999999"], "token id 99999999 is outside"),
        (["generate", "x", "--method", "nothing"], "'nothing' is not known"),
        (["generate", "x", "--method", "layerskip", "--exit-layer", "99"], "exit layer 99"),
        (["generate", "x", "--method", "vanilla", "--exit-layer", "3"], "no setting 'exit_layer'"),
        (["generate", "x", "--temperature", "-1"], "temperature is -1.0"),
        (["generate", "x", "--max-new-tokens", "0"], "max_new_tokens is 0"),
        (["generate", "x", "--dtype", "int3"], "'int3' is not known"),
        (["generate", "x", "--device", "toaster"], "'toaster'"),
        (["generate", "x", "--chat"], "no chat template"),
        (["generate", ""], "the prompt is empty"),
        (["generate", "x", "--set", "omega"], "name=value"),
        (["generate", "x", "--set", "omega=["], "cannot be read"),
        (
            ["generate", "x", "--method", "layerskip:exit_layer=abc"],
            "must be a whole number",
        ),
        (["generate", "x", "-f", "/nonexistent"], "not both"),
        (["generate", "-f", "/nonexistent"], "cannot read"),
        (["generate", "x" * 5000], "5000 tokens"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    dynexit, checkpoint: Path, arguments: list[str], sentence: str
) -> None:
    code, out, err = dynexit(*arguments, "-m", checkpoint)
    assert code == 2
    assert out == ""
    assert sentence in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_help_tells_the_defaults_that_are_written_by_hand(dynexit) -> None:
    for option in ("-h", "--help"):
        code, out, _ = dynexit("generate", option)
        words = " ".join(out.replace("│", " ").split())
        assert code == 0
        assert "[default: standard input]" in words
        assert "[default: bundled]" in words


def test_version_says_name_and_version(dynexit) -> None:
    code, out, _ = dynexit("--version")
    assert (code, out) == (0, f"dynexit {__version__}\n")


def test_info_measures_every_exit(dynexit, checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DYNEXIT_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "measure_costs", lambda model, copied: rough_costs(2.0, 2_048))
    code, out, _ = dynexit("info", checkpoint, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["num_layers"] == len(record["agreement"]) == 12
    assert record["agreement"][-1] == 1.0
    layer, length = record["best_exit_layer"], record["best_speculation_length"]
    code, out, _ = dynexit("info", checkpoint)
    assert "agreement over" in out
    assert f"exit layer {layer} and speculation length {length} promise the most" in out


def test_useless_exits_are_warned_of_once(dynexit, tmp_path: Path) -> None:
    import torch

    synthesise(tmp_path / "useless", "tiny", {11: 0.02}, torch.float32)
    code, _, err = dynexit("generate", "Hi", "-m", tmp_path / "useless", "-n", 4)
    assert code == 0
    assert err.count("warning:") == 1
    assert "train the exits" in err


def test_synth_reports_what_it_achieved(dynexit, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    code, out, _ = dynexit(
        "synth", folder, "--like", "tiny", "--agreement", "4:0.6", "--dtype", "fp32"
    )
    assert code == 0
    assert "achieved" in out
    for arguments, sentence in [
        ((folder, "--like", "tiny"), "is not empty"),
        ((tmp_path / "a", "--like", "huge"), "'huge' is not known"),
        ((tmp_path / "a", "--like", "tiny", "--agreement", "40:0.5"), "layer 40"),
        ((tmp_path / "a", "--like", "tiny", "--agreement", "4:1.5"), "1.5"),
        ((tmp_path / "a", "--like", "tiny", "--agreement", "four"), "LAYER:SHARE"),
    ]:
        code, _, err = dynexit("synth", *arguments)
        assert code == 2
        assert sentence in err
    assert not (tmp_path / "a").exists()


@pytest.mark.gguf_tokenizer
@pytest.mark.parametrize("kind", ["q4_0", "bf16"])
def test_synth_writes_a_gguf_file_that_is_read_again(dynexit, tmp_path: Path, kind) -> None:
    file = tmp_path / "new" / "m.gguf"
    arguments = ("--like", "tiny", "--agreement", "4:0.6", "--type", kind)
    code, out, err = dynexit("synth", file, *arguments)
    assert (code, err) == (0, "")
    wanted, achieved = re.search(r" 4 +│ +([\d.]+) +│ +([\d.]+)", out).groups()
    assert (float(wanted), float(achieved)) == (0.6, pytest.approx(0.6, abs=0.15))
    code, out, _ = dynexit("info", file, "--json")
    types = json.loads(out)["tensors"]
    assert set(types["feed-forward"]) == {kind.upper()}
    assert set(types["head"]) == {"Q8_0" if kind == "q4_0" else "BF16"}
    code, out, err = dynexit("generate", "Hello", "-m", file, "-n", 8, "--json")
    assert len(json.loads(out)["token_ids"]) == 8
    code, _, err = dynexit("quantize", "bundled", file)
    assert (code, list(file.parent.iterdir())) == (2, [file])


def test_interrupt_keeps_the_text_and_prints_statistics(checkpoint: Path) -> None:
    command = [sys.executable, "-u", "-m", "dynexit", "generate", "Hello", "-m", str(checkpoint)]
    running = subprocess.Popen(
        [*command, "-n", "2000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell's background jobs ignore the interrupt, and so would this one, their descendant.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    first = running.stdout.read(1)  # text is flowing
    running.send_signal(signal.SIGINT)
    rest, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert len(first + rest) > 1
    assert b"(interrupted)" in err
    assert b"Traceback" not in err


def test_the_default_method_is_the_librarys(dynexit, checkpoint) -> None:
    code, out, _ = dynexit("generate", "Hello", "-m", checkpoint, "-n", 4, "--json")
    assert code == 0
    assert json.loads(out)["method"] == DEFAULT_METHOD
