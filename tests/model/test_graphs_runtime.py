"""Which models are replayed: those whose replay has been compared with an eager pass, on CUDA."""

import json
import warnings

import pytest
import torch
from tiny_checkpoints import read, refusal

from dynexit import load
from dynexit.model.graphs import trial
from dynexit.model.graphs.host import attend
from dynexit.model.graphs.transformer import RecordedTransformer
from dynexit.model.interface import Span
from dynexit.model.transformer import Transformer

PROMPT = list(range(5, 25))


def again(piece, device):
    return piece


def stale(piece, device):
    """Its first numbers are right, and stay."""
    piece()
    return lambda: None


def refused(piece, device):
    raise RuntimeError(
        "CUDA error: operation not permitted when stream is capturing\nlaunched by x"
    )


BROKEN = {"other numbers": stale, "operation not permitted when stream is capturing": refused}


@pytest.fixture
def as_if_on_cuda(monkeypatch):
    """Says that a recorder works on any device: (install it)."""

    def install(recorder):
        monkeypatch.setattr(trial, "obstacle", lambda *devices: None)
        monkeypatch.setattr(trial, "CudaRecorder", lambda: recorder)
        monkeypatch.setattr(trial, "_kernels", lambda: attend)

    return install


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_graphs_are_refused_on_a_cpu(checkpoint, device):
    sentence = refusal(lambda: load(checkpoint, "fp32", device, runtime="graphs"))
    assert "it runs on CUDA devices, not on cpu; use --runtime eager." in sentence


def test_a_runtime_that_is_not_known(checkpoint):
    sentence = refusal(lambda: load(checkpoint, device="cpu", runtime="graph"))
    assert "'graph' is not known: use native, graphs, eager" in sentence


def test_a_cpu_has_the_runtimes_that_it_had(checkpoint):
    assert load(checkpoint, "fp64", "cpu", check=False).model.runtime_name == "eager"
    assert "native" in load(checkpoint, "fp32", "cpu", check=False).model.runtime_name


def test_only_cuda_is_no_obstacle():
    assert trial.obstacle(torch.device("cuda", 0), torch.device("cuda", 1)) is None
    assert trial.obstacle(torch.device("cuda", 0), torch.device("cpu")) is not None


@pytest.mark.parametrize("runtime", [None, "graphs"])
def test_a_recorder_that_works_is_used(checkpoint, as_if_on_cuda, runtime):
    as_if_on_cuda(again)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm = load(checkpoint, "fp64", "cpu", runtime=runtime)
    assert isinstance(lm.model, RecordedTransformer)
    assert lm.model.runtime_name == "graphs"
    eager = load(checkpoint, "fp64", "cpu", runtime="eager", check=False)
    expected = eager.generate(PROMPT, "vanilla", max_new_tokens=24).token_ids
    for method in ("vanilla", "layerskip"):
        assert lm.generate(PROMPT, method, max_new_tokens=24).token_ids == expected


def test_who_asks_for_eager_gets_it(checkpoint, as_if_on_cuda):
    as_if_on_cuda(again)
    model = load(checkpoint, "fp64", "cpu", runtime="eager", check=False).model
    assert isinstance(model, Transformer)


@pytest.mark.parametrize("told", BROKEN)
def test_one_that_does_not_is_told_and_not_used(checkpoint, as_if_on_cuda, told):
    as_if_on_cuda(BROKEN[told])
    with pytest.warns(UserWarning, match="this runs eagerly") as caught:
        lm = load(checkpoint, "fp64", "cpu", check=False)
    assert len(caught) == 1
    assert told in str(caught[0].message)
    assert "\n" not in str(caught[0].message)
    assert isinstance(lm.model, Transformer)


@pytest.mark.parametrize("told", BROKEN)
def test_who_asks_for_graphs_gets_them_or_a_reason(checkpoint, as_if_on_cuda, told):
    as_if_on_cuda(BROKEN[told])
    sentence = refusal(lambda: load(checkpoint, "fp64", "cpu", runtime="graphs"))
    assert told in sentence
    assert sentence.endswith("use --runtime eager.")


@pytest.mark.gpu
class TestOnCuda:
    """The real recorder."""

    @pytest.fixture(params=["fp64", "bf16"])
    def pair(self, checkpoint, request):
        """(replayed, eager)"""
        runtimes = ("graphs", "eager")
        return [load(checkpoint, request.param, "cuda", False, name).model for name in runtimes]

    def test_it_is_the_default(self, checkpoint):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load(checkpoint, device="cuda").model.runtime_name == "graphs"

    @torch.inference_mode()
    def test_every_number_of_rows_through_segments(self, pair):
        layers = pair[0].config.num_layers
        close = {torch.float64: 1e-9, torch.bfloat16: 0.05}[pair[0].dtype]
        for start, stop in ((0, layers), (0, 3), (3, layers), (2, 4)):
            for count in (1, 2, 3, 5, 8, 1, 17, 70, 3):
                ours, theirs = (self.passed(model, count, start, stop) for model in pair)
                assert (ours - theirs).abs().max() <= close * theirs.abs().max()

    @staticmethod
    def passed(model, count, start, stop):
        cache = model.new_cache()
        for first, rows in ((0, 9), (9, count)):
            hidden = model.embed([(first + 5 * row) % 50 for row in range(rows)])
            hidden = model.run_layers(hidden, model.rows([Span(cache, first, rows)]), start, stop)
        return hidden.double()

    @pytest.mark.parametrize("method", ["vanilla", "layerskip", "draft-verify", "del", "auto"])
    def test_the_texts_are_the_eager_ones(self, checkpoint, method):
        eager = load(checkpoint, "fp64", "cuda", False, "eager")
        graphs = load(checkpoint, "fp64", "cuda", False, "graphs")
        expected = eager.generate(PROMPT, "vanilla", max_new_tokens=60).token_ids
        assert graphs.generate(PROMPT, method, max_new_tokens=60).token_ids == expected

    @pytest.mark.parametrize("method", ["vanilla", "layerskip"])
    def test_no_operation_waits(self, checkpoint, method):
        """Parcels wait for events, which CUDA's debug mode lets pass; nothing else may."""
        graphs = load(checkpoint, "fp64", "cuda", False, "graphs")
        graphs.generate(PROMPT, method, max_new_tokens=60)  # records what is needed
        stream = graphs.stream(PROMPT, method, max_new_tokens=60)
        next(iter(stream))
        torch.cuda.set_sync_debug_mode("error")
        try:
            assert len(list(stream)) > 50
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_the_roofline_is_timed(self, dynexit, checkpoint):
        shape = ("--rows", "1,4", "--context", 16)
        code, out, _ = dynexit("roofline", checkpoint, "--device", "cuda", *shape, "--json")
        assert code == 0
        assert json.loads(out)["machine"]["runtime"] == "graphs"


def test_a_checkpoint_with_tied_head_is_replayed(write):
    """Pieces read weights where they are: one matrix at both ends."""
    eager = read(write("llama", "tied"))
    graphs = trial.recorded(eager, again, attend)
    rows = [eager.rows([Span(eager.new_cache(), 0, 3)]) for _ in range(2)]
    hidden = eager.embed([1, 2, 3])
    ours = graphs.run_layers(hidden, rows[0], 0, eager.config.num_layers)
    theirs = eager.run_layers(hidden, rows[1], 0, eager.config.num_layers)
    torch.testing.assert_close(ours, theirs)
    assert graphs.read(ours).tokens.tolist() == eager.unembed(theirs).argmax(-1).tolist()
