"""The lossless check, where texts are equal, where they are not, and what it then says."""

import pytest
import torch

from dynexit import LanguageModel, load
from dynexit.bench.check import first_difference


@pytest.fixture(scope="module")
def lm(checkpoint):
    return load(str(checkpoint), dtype="fp32", check=False)


def test_equal_texts_have_no_difference(lm):
    assert first_difference(lm, [1, 2], [3, 4], [3, 4]) is None


def test_a_wrong_token_is_no_near_tie(lm):
    prompt = lm.tokenizer.encode("Hello there")
    plain = lm.generate(prompt, "vanilla", max_new_tokens=8).token_ids
    other = [*plain[:5], (plain[5] + 1) % 250, *plain[6:]]
    found = first_difference(lm, prompt, plain, other)
    assert (found.position, found.plain, found.other) == (5, plain[5], other[5])
    assert found.gap > found.rounding > 0
    assert not found.near_tie


def test_two_tokens_of_equal_logits_are_a_near_tie(lm):
    """Head rows made equal but for less than rounding."""
    prompt = lm.tokenizer.encode("Hello there")
    plain = lm.generate(prompt, "vanilla", max_new_tokens=4).token_ids
    twin = (plain[2] + 1) % 250
    model = load(lm.name, dtype="fp32", check=False, runtime="eager").model
    with torch.no_grad():
        model.head.weight[twin] = model.head.weight[plain[2]] * (1 - 1e-7)
    twins = LanguageModel(model, lm.tokenizer)
    found = first_difference(twins, prompt, plain, [*plain[:2], twin])
    assert found.near_tie


def test_an_ended_text_differs_where_the_other_goes_on(lm):
    found = first_difference(lm, [1, 2, 3], [4, 5], [4, 5, 6])
    assert (found.position, found.plain, found.other) == (2, None, 6)


def test_the_command_finds_nothing(dynexit, checkpoint, rows):
    code, out, _ = dynexit(
        "check", "-m", checkpoint, "-t", "gsm8k", "--data-dir", rows, "--num-samples", 2, "-n", 12,
        "--method", "del", "--method", "layerskip:exit_layer=2", "--dtype", "fp32",
    )  # fmt: skip
    assert code == 0
    assert "del: 2 of 2 texts identical to vanilla's" in out


def test_the_command_finds_a_method_that_lies(dynexit, checkpoint, rows):
    """A lossy method: cut at layer 1, it writes something else."""
    code, out, _ = dynexit(
        "check", "-m", checkpoint, "-t", "gsm8k", "--data-dir", rows, "--num-samples", 2, "-n", 12,
        "--method", "early-exit:exit_layer=1", "--dtype", "fp32",
    )  # fmt: skip
    assert code == 1
    assert "NOT a near tie" in out
    assert "differ by more than rounding" in out


def test_a_row_that_cannot_run_is_named_and_the_rest_goes_on(dynexit, checkpoint, rows):
    task = f"jsonl:{rows / 'prompts.jsonl'}"
    code, out, err = dynexit(
        "check", "-m", checkpoint, "-t", task, "-n", 4, "--method", "del", "--dtype", "fp32"
    )
    assert code == 1
    assert f"failed: {task} prompts-1 vanilla: the prompt has 5000 tokens" in err
    assert "del: 2 of 2 texts identical to vanilla's" in out
    assert "1 could not be written" in out


def test_methods_are_looked_at_before_a_model_is_loaded(dynexit):
    code, _, err = dynexit("check", "-m", "/nowhere", "--method", "fastest")
    assert code == 2
    assert "'fastest' is not known" in err


def test_rows_that_are_not_there(dynexit, checkpoint, tmp_path):
    code, _, err = dynexit("check", "-m", checkpoint, "-t", "gsm8k", "--data-dir", tmp_path)
    assert code == 2
    assert "gsm8k_test" in err
