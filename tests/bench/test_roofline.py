"""The roofline: what it counts, and what the command prints, writes and refuses."""

import json

import pytest
import torch

from dynexit import load
from dynexit.bench import roofline
from dynexit.bench.passes import Limits, Point
from dynexit.bench.roofline import measure


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    """At the machine: what is read of it here is not judged."""
    monkeypatch.setattr(roofline, "LARGE", 2**22)
    monkeypatch.setattr(roofline, "SIDES", (64,))
    monkeypatch.setattr(roofline, "REPEATS", 3)
    monkeypatch.setattr(roofline, "ATTEMPTS", 1)


def test_the_floor_is_bytes_or_arithmetic_whichever_is_more():
    limits = Limits(memory=50.0, own_size=10.0, arithmetic=100.0)
    point = Point(1, 0, 2.0, 1.0, 20_000_000, 5_000_000, 10_000_000, 90_000_000)
    assert point.floor_ms(limits) == pytest.approx(2.0 + 0.9)
    assert point.total_ms == 3.0


@pytest.mark.parametrize("runtime", ["native", "eager"])
def test_every_shape_is_timed(checkpoint, runtime):
    lm = load(checkpoint, "fp32", check=False, runtime=runtime)
    found = measure(lm, [1, 4], [16, 32])
    assert [(p.context, p.rows) for p in found.points] == [(16, 1), (16, 4), (32, 1), (32, 4)]
    config, (first, *_, last) = lm.model.config, found.points
    assert last.head_flops == 4 * first.head_flops
    position = 2 * config.num_layers * config.num_kv_heads * config.head_dim * 4
    assert last.layer_bytes - first.layer_bytes == position * (36 - 17)
    for point in found.as_dict()["points"]:
        assert point["floor_ms"] > 0
        measured = point["layers_ms"] + point["head_ms"]
        assert point["share"] == pytest.approx(point["floor_ms"] / measured)


class Clock:
    """Every way to do it takes as long as it says, the first times longer."""

    def __init__(self, monkeypatch):
        self.now, self.delay = 0.0, 1.0
        monkeypatch.setattr(roofline, "perf_counter", lambda: self.now)

    def taking(self, seconds):
        def action():
            self.delay *= 0.5
            self.now += seconds * (1.0 + self.delay)

        return action


def test_a_limit_is_what_the_best_of_several_ways_reaches(checkpoint, monkeypatch):
    monkeypatch.setattr(roofline, "ATTEMPTS", 20)
    model, clock = load(checkpoint, check=False).model, Clock(monkeypatch)
    ways = [clock.taking(seconds) for seconds in (3.0, 2.0, 4.0)]
    assert roofline._seconds(model, ways) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("runtime", ["native", "eager"])
def test_all_memory_is_read_in_every_way(checkpoint, runtime):
    model = load(checkpoint, "fp32", check=False, runtime=runtime).model
    memory = roofline.memory_to_read(2**16, model.device)
    assert bool((memory == 1.0).all())
    ways = model.readers(memory)
    assert len(ways) > 2
    for way in ways:
        way()


@pytest.mark.parametrize("multiplied", [torch.bfloat16, torch.int8, torch.float32])
def test_arithmetic_is_what_the_runtime_multiplies_in(checkpoint, monkeypatch, multiplied):
    model = load(checkpoint, "fp32", check=False, runtime="native").model
    monkeypatch.setattr(type(model), "multiplied", multiplied)
    rates = {torch.float32: 100.0, torch.bfloat16: 200.0, torch.int8: 50.0}
    monkeypatch.setattr(roofline, "_product", lambda model, dtype, side: rates[dtype])
    assert roofline._arithmetic(model) == max(100.0, rates[multiplied])


def test_the_command(dynexit, checkpoint, tmp_path):
    plot = tmp_path / "roofline.png"
    code, out, _ = dynexit(
        *("roofline", checkpoint, "--rows", "2,1", "--context", 8, "--json", "--plot", plot)
    )
    assert code == 0
    record = json.loads(out)
    assert [point["rows"] for point in record["points"]] == [1, 2]
    assert min(record["before"].values()) > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    code, out, _ = dynexit("roofline", checkpoint, "--rows", 1, "--context", 8)
    assert code == 0
    assert "GB/s from memory" in out
    assert "share" in out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--rows", "two"), "--rows 'two'"),
        (("--context", "0"), "at least 1"),
        (("--context", "500000"), "500000 positions"),
        (("--plot", "figure.txt"), ".png"),
    ],
)
def test_what_is_refused(dynexit, checkpoint, options, named):
    code, _, err = dynexit("roofline", checkpoint, *options)
    assert code == 2
    assert named in err.replace("\n", " ")
