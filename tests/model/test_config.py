"""A config.json that the runtime cannot run rightly is refused by the name of what is wrong."""

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoints import LLAMA3, SHAPE, VARIANTS, change_json, read, refusal
from transformers import AutoConfig

import dynexit
from dynexit.errors import DynexitError
from dynexit.model.families import families, parse_config

YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0}
WINDOW = r"sliding-window attention is not supported"

# family, keys of config.json that change (... removes one), what the refusal names
UNSUPPORTED = {
    "architecture": (
        "llama",
        {"architectures": ["GPT2LMHeadModel"]},
        "architecture 'GPT2LMHeadModel' is not supported.*LlamaForCausalLM.*Qwen3ForCausalLM",
    ),
    "no architecture": ("llama", {"architectures": ...}, "architecture 'none named'"),
    "yarn": ("llama", {"rope_parameters": YARN}, "RoPE type 'yarn' is not supported"),
    "old yarn": (
        "llama",
        {"rope_parameters": ..., "rope_scaling": {"type": "yarn", "factor": 4.0}},
        "RoPE type 'yarn' is not supported",
    ),
    "dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
        "RoPE type 'dynamic' is not supported",
    ),
    "rope factor": (
        "llama",
        {"rope_parameters": {k: v for k, v in LLAMA3.items() if k != "factor"}},
        "has no 'factor'",
    ),
    "low_freq_factor": (
        "llama",
        {"rope_parameters": {k: v for k, v in LLAMA3.items() if k != "low_freq_factor"}},
        "has no 'low_freq_factor'",
    ),
    "partial rotation": ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    "partial rotation, new layout": (
        "llama",
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "partial_rotary_factor",
    ),
    "mistral window": ("mistral", {"sliding_window": 64}, WINDOW),
    "qwen2 window": ("qwen2", {"use_sliding_window": True, "sliding_window": 64}, WINDOW),
    "qwen3 window": ("qwen3", {"use_sliding_window": True, "sliding_window": 64}, WINDOW),
    "qwen2 window, context left out": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 64, "max_position_embeddings": ...},
        WINDOW,
    ),
    "qwen3 window left out": (  # transformers' is 4096
        "qwen3",
        {"use_sliding_window": True, "sliding_window": ..., "max_position_embeddings": 8_192},
        WINDOW,
    ),
    "windowed layers": (
        "qwen2",
        {"layer_types": ["full_attention"] * 3 + ["sliding_attention"]},
        WINDOW,
    ),
    "quantisation": (
        "llama",
        {"quantization_config": {"quant_method": "fp8"}},
        "weights quantised by 'fp8' are not supported",
    ),
    "activation": ("llama", {"hidden_act": "gelu"}, "activation 'gelu' is not supported"),
    "no size": ("llama", {"hidden_size": 0}, "hidden_size is 0: .* from 1 to"),
    "negative layers": ("llama", {"num_hidden_layers": -1}, "num_hidden_layers is -1: "),
    "uneven groups": ("llama", {"num_key_value_heads": 3}, "4 heads over 3 key/value heads"),
    "odd head": ("llama", {"head_dim": 7}, "of 7 is not a shape"),
}
REQUIRED = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
]


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name(write, case):
    family, changes, named = UNSUPPORTED[case]
    folder = write(family, next(iter(VARIANTS[family])))
    read(folder)
    change_json(folder / "config.json", **changes)
    assert re.search(named, refusal(lambda: read(folder)))


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", [..., None], ids=["missing", "null"])
def test_missing_key(write, key, value):
    folder = write()
    change_json(folder / "config.json", **{key: value})
    assert f"config.json has no '{key}'" in refusal(lambda: read(folder))


NO_SIZES = [True, 3.7, 4.0, 1e308, "4", {}, [4], 0, -1, 2**31, 2**32 + 1, 10**40]


@pytest.mark.parametrize("key", [*REQUIRED, "num_key_value_heads", "max_position_embeddings"])
@pytest.mark.parametrize("value", NO_SIZES, ids=str)
def test_what_is_no_size_is_told(write, key, value):
    folder = write()
    change_json(folder / "config.json", **{key: value})
    told = refusal(lambda: read(folder))
    assert told.startswith(f"config.json: {key} is ")
    assert ": it must be a whole number from 1 to " in told


@pytest.mark.parametrize(
    ("key", "values"),
    {
        "rms_norm_eps": [True, "1e-6", {}, 1e308, -1e-6, float("nan")],
        "tie_word_embeddings": [1, "true", []],
        "attention_bias": [0, "no", {}],
        "hidden_act": [1, ["silu"], {}],
        "rope_parameters": [1, "default", [1], True],
        "quantization_config": [1, "gptq", True],
    }.items(),
)
def test_what_is_of_another_kind_is_told(write, key, values):
    folder = write()
    for value in values:
        change_json(folder / "config.json", **{key: value})
        assert refusal(lambda: read(folder)).startswith(f"config.json: {key} is ")


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 0},
        {"rope_theta": float("inf")},
        {"rope_theta": "10000"},
        {"rope_type": 3},
        {**LLAMA3, "factor": 0},
        {**LLAMA3, "low_freq_factor": 4.0},
        {**LLAMA3, "original_max_position_embeddings": 0.5},
        {"rope_type": "factors", "factors": 3},
        {"rope_type": "factors", "factors": [1.0]},
    ],
    ids=str,
)
def test_angles_that_are_none_are_told(write, rope):
    folder = write()
    change_json(folder / "config.json", rope_parameters=rope)
    told = refusal(lambda: read(folder))
    assert re.match(r"config.json: \w+ is |config.json: low_freq|RoPE has", told)


@pytest.mark.parametrize("key", REQUIRED)
def test_a_shape_is_believed_only_where_the_weights_bear_it_out(write, key):
    """Each of these would take gigabytes, or minutes."""
    folder, most = write(), 2**16 if key == "num_hidden_layers" else 2**24
    change_json(folder / "config.json", **{key: most, "head_dim": 8})
    runs = [lambda: read(folder), lambda: dynexit.load(folder, check=False)]
    for run in runs:
        assert re.search(r"the model needs|too few for the 65536 layers", refusal(run))


GARBAGE = [b"", b"{", b"[1, 2]", b'"text"', b"null", b"\x80\xff\x00", b"{'a': 1}"]
DEEP, LONG = b"[" * 10**5, b"9" * 5000


@pytest.mark.parametrize("content", [*GARBAGE, DEEP, LONG], ids=range(9))
def test_garbage(write, content):
    folder = write()
    (folder / "config.json").write_bytes(content)
    assert str(folder / "config.json") in refusal(lambda: read(folder))


def test_no_config(write):
    folder = write()
    (folder / "config.json").unlink()
    message = refusal(lambda: read(folder))
    assert f"{folder / 'config.json'} is missing" in message


def test_a_config_that_is_a_folder(write):
    folder = write()
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert str(folder / "config.json") in refusal(lambda: read(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": None},
        {"sliding_window": 128},  # as long as the context: nothing is hidden
        {"sliding_window": 4_096},
    ],
    ids=str,
)
def test_a_window_that_hides_nothing_is_no_window(write, changes):
    folder = write("mistral", "no-window")
    change_json(folder / "config.json", **changes)
    read(folder)


def test_an_unused_window_is_no_window(write):
    folder = write("qwen2", "untied")
    change_json(folder / "config.json", use_sliding_window=False, sliding_window=64)
    read(folder)


SETTINGS = {
    family: {
        **AutoConfig.for_model(family, **{**SHAPE, **next(iter(variants.values()))}).to_dict(),
        "architectures": list(families()[family].ARCHITECTURES),
        "quantization_config": None,
        "rope_scaling": None,
    }
    for family, variants in VARIANTS.items()
}
JSON_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**12),
    st.floats(),
    st.sampled_from(["", "4", "yarn", "silu"]),
    st.lists(st.one_of(st.integers(-3, 3), st.text(max_size=3)), max_size=3),
    st.dictionaries(
        st.sampled_from(["rope_type", "type", "factor", "quant_method", "rope_theta"]),
        st.one_of(st.text(max_size=3), st.sampled_from(["linear", "llama3"]), st.integers(-1, 5)),
        max_size=3,
    ),
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_is_parsed_or_refused_in_a_sentence(data):
    config = dict(SETTINGS[data.draw(st.sampled_from(sorted(SETTINGS)))])
    config[data.draw(st.sampled_from(sorted(config)))] = data.draw(JSON_VALUES)
    with suppress(DynexitError):
        shape = parse_config(config)
        assert shape.num_heads % shape.num_kv_heads == 0
        assert min(shape.vocab_size, shape.hidden_size, shape.head_dim, shape.num_layers) >= 1
