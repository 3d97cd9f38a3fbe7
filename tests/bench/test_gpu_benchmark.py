"""`benchmarks/gpu.sh`, rehearsed on a CPU, with no more packages than a bare GPU machine has."""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from time import monotonic, sleep

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dynexit.bench.records import read_records

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
THERE = (
    *("torch", "transformers", "numpy", "safetensors", "tokenizers", "typer", "rich", "pytest"),
    *("pytest-xdist", "hypothesis", "matplotlib", "PyYAML", "psutil"),
)
PATIENCE = 300

pytestmark = pytest.mark.slow


def needed(names) -> dict[str, Distribution]:
    """Packages and all that they need, as far as it is installed."""
    found, asked = {}, list(names)
    while asked:
        name = canonicalize_name(asked.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        wanted = map(Requirement, found[name].requires or [])
        asked += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The environment of a process that sees these packages and no others."""
    site = tmp_path_factory.mktemp("site")
    packages = needed(THERE)
    assert not {"gguf", "fastapi", "dynexit"} & packages.keys()
    for package in packages.values():
        for name in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(package.locate_file(name))
    python = getattr(sys, "_base_executable", sys.executable)
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHON": python, "OMP_NUM_THREADS": "1"}
    command = [python, "-c", "import torch, gguf"]
    if subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0:
        pytest.skip("packages lie where every Python here finds them")
    return env


def start(bare, out, *options):
    command = [SCRIPT, "--rehearse", "--out", out, *options]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(list(map(str, command)), env=bare, cwd=out.parent, **streams)


def found_in(out):
    file = out / "results.json"
    return json.loads(file.read_text()) if file.exists() else {}


def test_every_part_is_done(bare, tmp_path):
    out = tmp_path / "out"
    process = start(bare, out, "--seconds", 2 * PATIENCE)
    told, _ = process.communicate(timeout=3 * PATIENCE)
    assert process.returncode == 0, told
    parts = found_in(out)["parts"]
    assert {part["state"] for part in parts.values()} == {"done"}
    assert not [part for part in parts.values() if "error" in part]
    assert parts["tests"]["counts"].keys() == {"skipped"}
    assert parts["tests"]["counts"]["skipped"] > 60
    shape = parts["passes"]["shapes"]["tiny"]
    assert all(found["same_tokens"] == found["tokens"] for found in shape["numbers"].values())
    for times in shape["times"].values():
        assert all(0 < one["launch_ms"] <= one["done_ms"] for one in times.values())
    assert (out / "profile-tiny-graphs.txt").read_text().startswith("3 passes")
    assert (out / "passes-tiny.png").stat().st_size > 5_000
    assert "a draft of 4" in (out / "log.txt").read_text()
    check_methods(parts["methods"]["shapes"]["tiny"], out)
    check_training(parts["training"])


def check_methods(shape, out):
    methods = shape["graphs"]["methods"]
    assert len(methods) == len(shape["waits"]) == 6
    assert methods["vanilla"]["speedup"] == methods["vanilla"]["speedup_by_totals"] == 1
    for found in methods.values():
        assert found["prompts"] == found["identical"] == 2
        assert found["tokens_per_second"] > 0
        assert 0 < found["control_share"] < 1
    assert methods["auto"]["tokens_per_round"] > 1
    assert shape["eager"]["texts_as_by_graphs"] == 2
    assert 0.5 < shape["agreement"][1] <= shape["agreement"][3] < 1
    assert len(list(read_records([out / "methods-tiny-graphs.jsonl"]))) == 12
    assert (out / "methods-tiny.png").stat().st_size > 5_000


def check_training(found):
    assert found["resumed_at"] == 4
    assert found["steps"] == 6
    assert 0 < found["last_loss"] < 5  # of text that it was never trained on
    assert found["flops_a_token"] > 6 * 10e6
    assert found["before"].keys() == found["after"].keys() == {"pages", "python"}


@pytest.mark.parametrize("part", ["passes", "methods"])
def test_what_was_found_stays_when_it_is_stopped(bare, tmp_path, part):
    out, ends = tmp_path / "out", monotonic() + PATIENCE
    process = start(bare, out, "--parts", f"{part},tests")
    while "shapes" not in found_in(out).get("parts", {}).get(part, {}):
        assert monotonic() < ends
        sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, told
    parts = found_in(out)["parts"]
    assert parts.keys() == {part}
    assert parts[part]["state"] == "stopped"
    assert parts[part]["bandwidth_gb_s"]["sum"] > 0


def test_a_part_that_is_not_known(bare, tmp_path):
    process = start(bare, tmp_path / "out", "--parts", "tests,speed")
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "there is no part 'speed'" in told
