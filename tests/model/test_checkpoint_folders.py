"""What else a checkpoint's folder holds or hides: tokenizer, EOS ids, code; and hub ids."""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from tiny_checkpoints import SHAPE, change_json, random_model, refusal, tokens_for
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoConfig, PreTrainedTokenizerFast

import dynexit
from dynexit.model.places import find_checkpoint

PROMPT = tokens_for(8).tolist()


def load(folder):
    return dynexit.load(folder, dtype="fp32", device="cpu", check=False)


def write_tokenizer(folder, size):
    """A tokenizer of `size` words: t0, t1, ..."""
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(size)}, unk_token="t0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)


# Where a checkpoint is found.


def test_a_local_folder_is_found_as_it_is(tmp_path):
    assert find_checkpoint(tmp_path) == tmp_path
    assert find_checkpoint(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["/no/such/folder", "./missing", "~/missing", "a/b/c"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(name):
    assert f"folder '{name}' does not exist" in refusal(lambda: find_checkpoint(name))


FIND = """
import json, sys
from dynexit.errors import DynexitError
from dynexit.model.loading import load_shape
from dynexit.model.places import find_checkpoint

def find(name):
    try:
        folder = find_checkpoint(name)
        return [str(folder), load_shape(folder).vocab_size]
    except DynexitError as error:
        return str(error)

print(json.dumps([find(name) for name in sys.argv[1:]]))
"""


def test_hub_ids_offline(write, tmp_path_factory):
    """A cached one is found as the hub's client lays it out; an unknown one is one sentence."""
    cache, commit = tmp_path_factory.mktemp("hub"), "0123456789abcdef" * 2 + "01234567"
    stored = cache / "models--someone--tiny"
    snapshot = stored / "snapshots" / commit
    for folder in (stored / "refs", stored / "blobs", snapshot):
        folder.mkdir(parents=True)
    (stored / "refs" / "main").write_text(commit)
    for file in write().iterdir():
        blob = stored / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", FIND, "someone/tiny", "someone/unknown", "not a name!"]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found, *missing = json.loads(run.stdout)
    assert found == [str(snapshot), SHAPE["vocab_size"]]
    for name, message in zip(command[4:], missing, strict=True):
        assert f"cannot get '{name}'" in message
        assert message.endswith(".")
        assert "\n" not in message
    assert "offline" in missing[0].lower()
    assert "Traceback" not in run.stderr


# Code that a checkpoint brings along.

CODE = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class OwnConfig(LlamaConfig): pass
class OwnModel(LlamaForCausalLM): pass
class OwnTokenizer(PreTrainedTokenizerFast): pass
"""


@pytest.fixture
def with_code(write, tmp_path_factory):
    """(folder, marker): a checkpoint whose configuration names code, which writes the marker."""
    folder, marker = write(), tmp_path_factory.mktemp("marker") / "ran"
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    write_tokenizer(folder, SHAPE["vocab_size"])
    change_json(folder / "config.json", auto_map=classes)
    tokenizer = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    change_json(folder / "tokenizer_config.json", auto_map=tokenizer)
    return folder, marker


def test_a_checkpoints_code_never_runs(with_code):
    folder, marker = with_code
    model = load(folder)
    assert model.generate(PROMPT, "vanilla", max_new_tokens=2).token_ids
    assert not marker.exists()


@pytest.mark.parametrize("class_name", ["OwnTokenizer", "OwnTokenizerFast"])
def test_a_tokenizer_that_needs_code_never_runs_it(with_code, class_name):
    folder, marker = with_code
    change_json(folder / "tokenizer_config.json", tokenizer_class=class_name)
    with suppress(dynexit.DynexitError):  # refused, or loaded without it: either is fine
        load(folder)
    assert not marker.exists()


def test_an_architecture_that_needs_code_is_refused(with_code):
    folder, marker = with_code
    change_json(folder / "config.json", architectures=["OwnModel"], model_type="own")
    assert "architecture 'OwnModel' is not supported" in refusal(lambda: load(folder))
    assert not marker.exists()


def test_the_code_is_dangerous_indeed(with_code, tmp_path, monkeypatch):
    """Trusted, it runs: the tests above would notice."""
    folder, marker = with_code
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert marker.exists()


# Which tokens end a text, and which may be chosen.


@pytest.fixture
def continuation(write):
    """(folder without EOS, the ids that follow PROMPT)."""
    folder = write()
    ids = load(folder).generate(PROMPT, "vanilla", max_new_tokens=12).token_ids
    assert len(ids) == 12
    return folder, ids


@pytest.mark.parametrize("swapped", [False, True])
def test_each_of_several_eos_ids_ends_the_text(continuation, swapped):
    folder, ids = continuation
    absent = next(i for i in range(SHAPE["vocab_size"]) if i not in ids)
    eos = [ids[5], absent][:: -1 if swapped else 1]
    change_json(folder / "generation_config.json", eos_token_id=eos)
    model = load(folder)
    assert model.eos == set(eos)
    generated = model.generate(PROMPT, "vanilla", max_new_tokens=12)
    assert generated.token_ids == ids[: ids.index(ids[5])]
    assert generated.finish_reason == "stop"


def test_generation_config_comes_before_config(continuation):
    folder, ids = continuation
    change_json(folder / "config.json", eos_token_id=ids[2])
    assert load(folder).eos == {ids[2]}
    change_json(folder / "generation_config.json", eos_token_id=[ids[4], 0])
    assert load(folder).eos == {ids[4], 0}


@pytest.mark.parametrize("eos", ["</s>", [3, "</s>"], {"id": 3}, 2.5, True, [3, False]], ids=str)
def test_an_eos_that_is_no_id_is_refused(write, eos):
    folder = write()
    change_json(folder / "generation_config.json", eos_token_id=eos)
    assert "eos_token_id is" in refusal(lambda: load(folder))


def test_without_either_the_tokenizers_eos_counts(continuation):
    folder, _ = continuation
    assert load(folder).eos == set()
    write_tokenizer(folder, SHAPE["vocab_size"])
    change_json(folder / "tokenizer_config.json", eos_token="t7")
    assert load(folder).eos == {7}


@pytest.fixture
def padded(tmp_path):
    """(folder, transformers' model): the last 7 of 97 ids are padding, with huge head rows."""
    model = random_model()
    rows = model.lm_head.weight.data[90:]
    rows[0::2], rows[1::2] = 1_000.0 * rows[0], -1_000.0 * rows[0]  # one of the two always wins
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path, 90)
    return tmp_path, model


@pytest.mark.parametrize("method", ["vanilla", "layerskip", "del"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_padding_of_the_vocabulary_is_never_chosen(padded, method, temperature):
    folder, theirs = padded
    prompt = [token % 90 for token in PROMPT]
    assert theirs(torch.tensor([prompt])).logits.argmax(-1).min() >= 90, "padding must tempt"
    model = load(folder)
    generated = model.generate(
        prompt, method, max_new_tokens=40, temperature=temperature, seed=1
    ).token_ids
    assert len(generated) == 40
    assert max(generated) < 90


def test_padding_does_not_change_what_is_chosen(padded):
    folder, theirs = padded
    theirs.lm_head.weight.data[90:] = 0
    prompt = torch.tensor([[token % 90 for token in PROMPT]])
    allowed = list(range(90))
    expected = theirs.generate(
        prompt, max_new_tokens=20, do_sample=False, prefix_allowed_tokens_fn=lambda *_: allowed
    )
    ids = load(folder).generate(prompt[0].tolist(), "vanilla", max_new_tokens=20).token_ids
    assert ids == expected[0, prompt.shape[1] :].tolist()


def test_padding_is_no_token_of_a_prompt(padded):
    model = load(padded[0])
    assert "token id 90 is outside" in refusal(lambda: model.generate([1, 90]))


def test_a_short_context_without_a_tokenizer_loads(tmp_path):
    random_model(max_position_embeddings=32).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="early exits"):
        dynexit.load(tmp_path, dtype="fp32", device="cpu")


def test_a_hub_that_is_not_reached_is_told_as_such(tmp_path):
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment |= {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", FIND, "someone/unknown"]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    (message,) = json.loads(run.stdout)
    assert message.endswith("the hub cannot be reached (Connection refused).")
