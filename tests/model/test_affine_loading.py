"""Quantised safetensors hold what was packed into them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from affine_checkpoints import FEW, FORMS, Form, packed, quantise, settings_of, write_tensors
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_checkpoints import random_model, read

import dynexit as package
from dynexit.model.affine.layout import Header, Module
from dynexit.model.affine.settings import layout_of
from dynexit.model.places import BUNDLED
from dynexit.model.weights import weight_map

WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 32}
BY_OTHERS = Path(__file__).with_name("affine_by_others.safetensors")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An unquantised checkpoint."""
    folder = tmp_path_factory.mktemp("plain")
    random_model(**WIDE).save_pretrained(folder)
    return folder


def check_holds(folder, expected):
    """A folder's weights, dequantised, are those to the bit."""
    model = read(folder)
    own = model.state_dict()
    for name, parts in weight_map(model.config).items():
        for part in parts:
            assert torch.equal(own[name][part.start : part.stop], expected[part.name].float()), name


# What the libraries themselves packed: GPTQModel 7.7.0, AutoAWQ 0.2.9, compressed-tensors 0.20.0.


def packed_by_others():
    with safe_open(BY_OTHERS, framework="pt") as file:
        return sorted({name.rpartition(".")[0] for name in file.keys()})  # noqa: SIM118


def form_of(name):
    """Of a name such as "gptq 4 16 asym gptq_v2"."""
    method, bits, group, kind, version = name.split()
    changes = {"checkpoint_format": version} if method == "gptq" else {}
    return Form(method, int(bits), int(group), kind == "sym", changes=changes)


@pytest.mark.parametrize("name", packed_by_others())
def test_what_the_formats_libraries_packed_is_read_as_they_read_it(name):
    tensors = load_file(BY_OTHERS)
    own = {n.rpartition(".")[2]: t for n, t in tensors.items() if n.rpartition(".")[0] == name}
    weight = own.pop("weight")
    types = {torch.int32: "I32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16"}
    headers = {end: Header(BY_OTHERS, tuple(t.shape), types[t.dtype]) for end, t in own.items()}
    layout = layout_of({"quantization_config": settings_of(form_of(name))})
    assert torch.equal(layout.values(Module(name, headers, own.get)).floats(), weight)


# Whole checkpoints.


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_weights_are_exact(plain, tmp_path, form):
    check_holds(tmp_path / "m", quantise(plain, tmp_path / "m", form))


@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
@pytest.mark.parametrize(
    ("family", "variant"),
    [("llama", "tied"), ("mistral", "no-window"), ("qwen2", "untied"), ("qwen3", "biases")],
)
def test_each_family(tmp_path, form, family, variant):
    shape = {**WIDE, "head_dim": 32}
    random_model(family, variant, **shape).save_pretrained(tmp_path / "plain")
    check_holds(tmp_path / "m", quantise(tmp_path / "plain", tmp_path / "m", form))


@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
def test_a_matrix_may_be_spread_over_shards(plain, tmp_path, form):
    expected = quantise(plain, tmp_path / "m", form, shards=3)
    assert len(list((tmp_path / "m").glob("*.safetensors"))) == 3
    check_holds(tmp_path / "m", expected)


def ending(*ends):
    return lambda name: name.removesuffix(".weight").endswith(ends)


MIXED = {  # what is quantised, in a format whose configuration says so
    "gptq": (
        Form("gptq", changes={"lm_head": True, "dynamic": {"-:.*(k|v|o|gate|up)_proj": {}}}),
        ending("lm_head", "q_proj", "down_proj"),
    ),
    "awq": (
        Form("awq", symmetric=False, changes={"modules_to_not_convert": ["k_proj", "mlp"]}),
        ending("q_proj", "v_proj", "o_proj"),
    ),
    "compressed-tensors": (
        Form("compressed-tensors", changes={"ignore": ["re:.*mlp.*"], "format": "pack-quantized"}),
        ending("q_proj", "k_proj", "embed_tokens", "lm_head"),
    ),
}


@pytest.mark.parametrize("case", MIXED)
def test_tensors_say_which_matrices_are_quantised(plain, tmp_path, case):
    form, which = MIXED[case]
    check_holds(tmp_path / "m", quantise(plain, tmp_path / "m", form, which=which))


def test_groups_of_modules_with_schemes_of_their_own(plain, tmp_path):
    """compressed-tensors: a matrix's tensors say which of the groups is its own."""
    four, eight = Form("compressed-tensors", 4, 32), Form("compressed-tensors", 8, -1, False)
    folder, which = tmp_path / "m", ending("down_proj")
    groups = settings_of(four)["config_groups"] | {
        "group_1": {**settings_of(eight)["config_groups"]["group_0"], "targets": ["re:.*down_proj"]}
    }
    four = replace(four, changes={"config_groups": groups})
    expected = quantise(plain, folder, four)
    tensors = load_file(folder / "model.safetensors")
    for name, weight in load_file(plain / "model.safetensors").items():
        if which(name):
            pieces, expected[name] = packed(weight, eight)
            tensors |= {f"{name.removesuffix('weight')}{end}": t for end, t in pieces.items()}
    write_tensors(folder, tensors)
    check_holds(folder, expected)


@pytest.mark.parametrize("changes", [{"desc_act": True}, {"static_groups": True}], ids=str)
def test_a_trivial_order_of_inputs_is_none(plain, tmp_path, changes):
    form = Form("gptq", changes=changes)
    check_holds(tmp_path / "m", quantise(plain, tmp_path / "m", form))


def test_an_order_of_calibration_alone_is_none(plain, tmp_path):
    form = Form("compressed-tensors")
    groups = settings_of(form)["config_groups"]
    groups["group_0"]["weights"]["actorder"] = "weight"
    form = replace(form, changes={"config_groups": groups})
    check_holds(tmp_path / "m", quantise(plain, tmp_path / "m", form))


def test_biases_of_zero_are_none(plain, tmp_path):
    """Old versions of AutoGPTQ give every matrix a bias."""
    expected = quantise(plain, tmp_path / "m", FEW["gptq"])
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    for name in [name for name in tensors if name.endswith("qweight")]:
        outputs = tensors[name].shape[1]
        tensors[name.replace("qweight", "bias")] = torch.zeros(outputs, dtype=torch.float16)
    write_tensors(tmp_path / "m", tensors)
    check_holds(tmp_path / "m", expected)


def test_a_dead_group_is_zero(tmp_path):
    """Its scale is next to nothing."""
    model = random_model(**WIDE)
    model.model.layers[0].mlp.down_proj.weight.data[3, :64] = 0.0
    model.save_pretrained(tmp_path / "plain")
    quantise(tmp_path / "plain", tmp_path / "m", Form("gptq", 4, 32))
    assert not read(tmp_path / "m").layers[0].down.weight[3, :64].any()


@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
def test_the_command_line_names_formats_and_bytes(plain, tmp_path, dynexit, form):
    folder = tmp_path / "m"
    quantise(plain, folder, form)
    code, out, _ = dynexit("info", folder, "--device", "cpu", "--json")
    assert code == 0
    stored = load_file(folder / "model.safetensors")

    def held(*parts):
        return sum(t.nbytes for name, t in stored.items() if any(part in name for part in parts))

    name = {"gptq": "GPTQ", "awq": "AWQ"}.get(form.method, form.method)
    groups = "by row" if form.group == -1 else f"g{form.group}"
    kind, plain_kind = f"{name} {form.bits}-bit {groups}", str(form.dtype)
    plain_kind = {"torch.float16": "F16", "torch.bfloat16": "BF16"}[plain_kind]
    record = json.loads(out)
    assert record["tensors"] == {
        "embedding": {plain_kind: held("embed_tokens")},
        "norms": {plain_kind: held("norm")},
        "attention": {kind: held("self_attn")},
        "feed-forward": {kind: held("mlp")},
        "head": {plain_kind: held("lm_head")},
    }
    assert record["runtime"].endswith(f"{kind}, {plain_kind}")


def test_a_file_that_is_replaced_is_read_again(plain, tmp_path):
    folder = tmp_path / "m"
    quantise(plain, folder, FEW["gptq"])
    before = read(folder).state_dict()["layers.0.out.weight"]
    shutil.rmtree(folder)
    expected = quantise(plain, folder, FEW["compressed-8"])
    check_holds(folder, expected)
    assert not torch.equal(before, expected["model.layers.0.self_attn.o_proj.weight"])


@pytest.mark.thinned(2)
@pytest.mark.parametrize("form", FEW.values(), ids=FEW)
def test_the_bundled_model_speaks_on(tmp_path, form):
    """Every way to draft writes what plain decoding of the quantised weights writes."""
    quantise(BUNDLED, tmp_path / "m", form)
    lm = package.load(tmp_path / "m", device="cpu", check=False)
    prompt = "Question: Tom has 3 apples and"
    plain = lm.generate(prompt, "vanilla", max_new_tokens=40).token_ids
    assert len(set(plain)) > 10
    for method in ("layerskip:exit_layer=8", "del", "auto", "auto:int8=true,exit_layer=8"):
        assert lm.generate(prompt, method, max_new_tokens=40).token_ids == plain, method
