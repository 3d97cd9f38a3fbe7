"""A model over several devices: contiguous ranges of layers, and the same tokens as on one."""

import pytest
import torch
from tiny_checkpoints import forward, random_model, read, refusal, tokens_for

from dynexit import load
from dynexit.model.interface import Span
from dynexit.model.loading import load_model, load_shape
from dynexit.model.placement import place_layers
from dynexit.shapes import SHAPES

CPU, META = torch.device("cpu"), torch.device("meta")
METHODS = ("vanilla", "layerskip", "finite-state", "draft-verify", "del")


def counts(config, devices):
    """How many layers each of so many devices gets; asserts that they are contiguous."""
    names = [torch.device("cuda", index) for index in range(devices)]
    placed = place_layers(config, names)
    assert len(placed) == config.num_layers
    assert placed == sorted(placed, key=names.index)
    return [placed.count(name) for name in names]


def test_layers_are_shared_by_bytes():
    assert counts(SHAPES["llama2-70b"], 1) == [80]
    assert counts(SHAPES["llama2-70b"], 4) == [20, 20, 20, 20]
    assert counts(SHAPES["llama3-8b"], 2) == [14, 18]  # embedding and head weigh 4.8 layers
    assert counts(SHAPES["llama3.2-1b"], 4) == [1, 5, 5, 5]  # and here 8.6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("devices", [2, 3, 5, 8])
def test_no_device_could_give_a_layer_away(shape, devices):
    config = SHAPES[shape]
    ends = 2 * config.head_parameters
    found = counts(config, devices)
    loads = [n * config.layer_parameters + ends * (i == 0) for i, n in enumerate(found)]
    movable = [load for load, n in zip(loads, found, strict=True) if n > 1]
    assert max(movable) - config.layer_parameters <= min(loads)


@pytest.fixture(scope="module", params=["gqa", "tied"])
def folder(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("llama")
    random_model("llama", request.param).save_pretrained(folder)
    return folder


def test_every_exit_unembeds_as_on_one_device(folder):
    whole, tokens = read(folder), tokens_for(30)
    shared = load_model(folder, load_shape(folder), torch.float32, CPU, CPU, CPU)
    theirs, ours = [], []
    assert torch.equal(forward(shared, tokens, states=ours), forward(whole, tokens, states=theirs))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(shared.unembed(mine), whole.unembed(other))


@pytest.fixture
def back_from_meta(monkeypatch):
    """Lets tensors leave `meta`, as zeros."""
    to = torch.Tensor.to

    def leaving(tensor, *target, **options):
        if tensor.is_meta and target == (CPU,):
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        return to(tensor, *target, **options)

    monkeypatch.setattr(torch.Tensor, "to", leaving)


@pytest.mark.usefixtures("back_from_meta")
def test_states_cross_borders_with_their_rows(folder):
    """`meta` is the only other device that every machine has: it computes shapes, and where."""
    model = load_model(folder, load_shape(folder), torch.float32, CPU, META)
    homes = [model.layer(index).device for index in range(model.config.num_layers)]
    assert homes == sorted(homes, key=[CPU, META].index)
    assert set(homes) == {CPU, META}
    assert model.devices == [CPU, META]
    assert {model.device, model.embedding.weight.device, model.head.weight.device} == {CPU}
    seen = []
    for index in range(model.config.num_layers):
        model.layer(index).register_forward_pre_hook(
            lambda layer, given: seen.append((layer.device, given[0].device, given[1].cos.device))
        )
    cache = model.new_cache()
    for start, stop in ((0, 5), (5, 9)):  # a prompt, then rows that need a mask
        rows, states = model.rows([Span(cache, start, stop - start)]), []
        hidden = model.embed(list(range(start, stop)))
        left = model.run_layers(hidden, rows, 0, model.config.num_layers, states, keep=2)
        assert {state.device for state in (left, *states)} == {CPU}
        assert model.unembed(states[1]).shape == (2, model.config.vocab_size)
    assert seen == [(home, home, home) for home in homes] * 2


@pytest.mark.parametrize("method", METHODS)
def test_the_same_tokens(checkpoint, method):
    prompt, options = list(range(5, 25)), {"max_new_tokens": 40}
    alone = load(checkpoint, "fp64", "cpu", check=False).generate(prompt, method, **options)
    shared = load(checkpoint, "fp64", "cpu,cpu, cpu", check=False).generate(
        prompt, method, **options
    )
    assert shared.token_ids == alone.token_ids
    assert len(alone.token_ids) == 40


def test_several_devices_run_in_pytorch(checkpoint):
    assert load(checkpoint, "bf16", "cpu,cpu", check=False).model.runtime_name == "eager"
    sentence = refusal(lambda: load(checkpoint, "bf16", "cpu,cpu", runtime="native"))
    assert "one device, not on 2" in sentence
    assert "--runtime eager" in sentence


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        (",".join(["cpu"] * 13), "13 devices are given for 12 layers"),
        ("cpu,tpu", "'tpu' is not known"),
        ("cpu,", "'' is not known"),
        ("cpu,meta", "'meta' is not known"),
    ],
)
def test_what_cannot_be_placed_is_told(checkpoint, devices, told):
    assert told in refusal(lambda: load(checkpoint, device=devices))


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_told(checkpoint):
    count = torch.cuda.device_count()
    assert f"CUDA has {count}" in refusal(lambda: load(checkpoint, device=f"cuda:{count}"))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="takes two GPUs")
@pytest.mark.parametrize("method", METHODS)
def test_the_same_tokens_over_two_gpus(checkpoint, method):
    prompt, options = list(range(5, 25)), {"max_new_tokens": 40}
    alone = load(checkpoint, "fp64", "cuda:0", check=False).generate(prompt, method, **options)
    shared = load(checkpoint, "fp64", "cuda:0,cuda:1", check=False)
    assert shared.generate(prompt, method, **options).token_ids == alone.token_ids
