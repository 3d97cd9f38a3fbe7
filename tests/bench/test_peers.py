"""Peers write our text from the same weights, and stand beside our methods in records."""

import importlib.util
import json

import pytest

from dynexit import DynexitError, load
from dynexit.bench.peers import find_peer, is_peer, peers

PROMPT = "Question: how many rolls are left in the morning?"


def generate(method, folder, count=20):
    """A peer's output, and our own text."""
    lm = load(folder, "fp32", check=False)
    kind, variant = find_peer(method)
    ids = lm.tokenizer.encode(PROMPT)
    return kind.make(lm).generate(variant, ids, count), lm.generate(
        ids, "vanilla", max_new_tokens=count
    )


@pytest.mark.parametrize("method", peers()["transformers"].methods)
def test_transformers_writes_our_text(checkpoint, method):
    output, ours = generate(method, checkpoint)
    assert output.token_ids == ours.token_ids
    assert 0 < output.decoded < 20
    assert min(output.prefill_seconds, output.decode_seconds) > 0


@pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"
)
@pytest.mark.parametrize("method", peers()["llama.cpp"].methods)
def test_llama_cpp_writes_our_text(checkpoint, method):
    output, ours = generate(method, checkpoint, 8)
    assert len(output.token_ids) == len(ours.token_ids) == 8
    if not method.endswith("q8_0"):
        assert output.token_ids[:2] == ours.token_ids[:2]


@pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is not None, reason="llama-cpp-python is installed"
)
def test_llama_cpp_says_what_to_install(checkpoint):
    with pytest.raises(DynexitError, match=r"pip install 'dynexit\[llama-cpp\]'"):
        generate("peer:llama.cpp", checkpoint)


def test_names():
    assert is_peer("peer:transformers:lookup")
    assert not is_peer("del")
    with pytest.raises(DynexitError, match=r"llama\.cpp, transformers"):
        find_peer("peer:vllm")
    with pytest.raises(DynexitError, match=r"early-exit, lookup"):
        find_peer("peer:transformers:medusa")


def test_the_command_times_them_in_turn(dynexit, checkpoint, rows, tmp_path):
    out = tmp_path / "run.jsonl"
    code, _, err = dynexit(
        *("bench", "-m", checkpoint, "-t", "gsm8k", "--data-dir", rows, "--num-samples", 2),
        *("--n-shot", 0, "-n", 8, "--method", "layerskip", "--dtype", "fp32", "--out", out),
        *("--peer", "transformers"),
    )
    assert code == 0, err
    records = [json.loads(line) for line in out.read_text().splitlines()]
    texts = {}
    for record in records:
        assert record["error"] is None
        assert record["stats"]["tokens_per_second"] > 0
        texts.setdefault(record["example"], set()).add(tuple(record["token_ids"]))
    assert len(records) == 2 * (2 + 3)
    assert {len(found) for found in texts.values()} == {1}
    assert any("transformers" in record["environment"] for record in records)
    code, _, err = dynexit("report", out, "--out", tmp_path / "report")
    assert code == 0, err
    table = (tmp_path / "report" / "report.md").read_text()
    assert "`peer:transformers:lookup`" in table


def test_a_peer_that_does_not_exist_is_refused_before_anything_runs(dynexit, checkpoint, tmp_path):
    out = tmp_path / "run.jsonl"
    code, _, err = dynexit("bench", "-m", checkpoint, "--out", out, "--peer", "vllm")
    assert code == 2
    assert "'vllm' is not known" in err.replace("\n", " ")
    assert not out.exists()
