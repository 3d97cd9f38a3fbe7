"""What becomes of files when there is no room for them."""

import resource
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from dynexit import DynexitError
from dynexit.bench.journal import Journal
from dynexit.bench.options import Options
from dynexit.bench.records import Record, read_records
from dynexit.model.files import replacing
from dynexit.model.saving import write_json
from dynexit.replay.trace import Trace, TracedText, TraceInfo
from dynexit.synth import synthesise
from dynexit.training.state import write_state


@contextmanager
def room_for(size: int):
    """No file of this process may become longer than that: as on a full disk. What is imported is
    not compiled into files, which would stay cut off.
    """
    before, compiled = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = compiled
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def interrupted(file: Path) -> None:
    with replacing(file) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    write_json(file, {"a": 1})
    before = file.read_bytes()
    with room_for(100), pytest.raises(DynexitError, match=r"cannot write .*file.json: File too la"):
        write_json(file, {"a": list(range(1000))})
    with pytest.raises(KeyboardInterrupt):
        interrupted(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_benchmark_keeps_the_lines_that_fit(tmp_path: Path) -> None:
    file, options = tmp_path / "run.jsonl", Options()
    records = [Record("m", "t", f"{i}", "vanilla", options=options.as_dict()) for i in range(9)]
    with Journal(file, options) as journal, room_for(3 * len(records[0].as_line()) + 50):
        for record in records[:3]:
            journal.append(record)
        with pytest.raises(DynexitError, match=r"cannot write .*run.jsonl: File too large; the s"):
            journal.append(records[3])
    assert list(read_records([file])) == records[:3]


def test_a_trace_keeps_the_older_one(tmp_path: Path) -> None:
    file, info = tmp_path / "t.safetensors", TraceInfo("m", 2, 9, 99, 9)
    two = np.zeros((2, 500, 2), np.int32), np.zeros((2, 500, 2), np.float32)
    text = TracedText("a-1", 3, 0, np.zeros(501, np.int32), *two, two[0][..., 0], two[1][..., 0])
    file.write_text("older")
    with room_for(1000), pytest.raises(DynexitError, match=r"cannot write .*t.safetensors: "):
        Trace(info, [text]).save(file)
    assert file.read_text() == "older"
    assert list(tmp_path.iterdir()) == [file]


def test_a_training_state_keeps_the_older_one(tmp_path: Path) -> None:
    file = tmp_path / "training.pt"
    file.write_text("older")
    with room_for(1000), pytest.raises(DynexitError, match=r"cannot write .*.pt: File too large"):
        write_state(file, {"weights": torch.zeros(100_000)})
    assert file.read_text() == "older"
    assert list(tmp_path.iterdir()) == [file]


def test_a_synthetic_checkpoint_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "new"
    with room_for(100_000), pytest.raises(DynexitError, match=r"cannot write .*model.safetensors"):
        synthesise(out, "tiny", {3: 0.8}, torch.float32)
    assert not out.exists()


def test_a_synthetic_checkpoint_takes_the_place_of_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out, sentence in ((file, "is not a folder"), (file / "x", "cannot make the folder")):
        with pytest.raises(DynexitError, match=sentence):
            synthesise(out, "tiny", {3: 0.8}, torch.float32)
    assert file.read_text() == "mine"


def test_half_a_character_in_a_record_survives(tmp_path: Path) -> None:
    file, record = tmp_path / "run.jsonl", Record("m", "jsonl:\udcff", "é", "vanilla")
    file.write_text(record.as_line(), encoding="utf-8")
    assert list(read_records([file])) == [record]
