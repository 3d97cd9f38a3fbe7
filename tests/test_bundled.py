"""The model that comes along: real text, every method, in the machine's own arithmetic."""

import pytest
import torch

import dynexit
from dynexit.agreement import read_exits
from dynexit.bench.check import first_difference
from dynexit.decoding.controllers import methods
from dynexit.model.places import BUNDLED

ALONE = [
    name for name, make in methods().items() if make().lossless and make().second_model is None
]
PROMPTS = {
    "word problems": "Question: Lena buys 3 boxes of 8 crayons and gives 5 crayons to her brother. "
    "How many crayons does she have left?\nAnswer:",
    "translation": "German: Wir fahren morgen mit dem Zug nach Berlin.\nEnglish:",
    "prose": "The old house stood at the end of the lane, and nobody in the village",
    "python": 'def count_words(text):\n    """Return how often each word of text occurs."""\n',
}


@pytest.fixture(scope="module")
def lm() -> dynexit.LanguageModel:
    return dynexit.load(dtype="fp32", device="cpu")


def assert_same(lm: dynexit.LanguageModel, prompt: str, mine: list[int], theirs: list[int]) -> None:
    """Equal, or parted where rounding alone can choose either token."""
    found = first_difference(lm, lm.tokenizer.encode(prompt), theirs, mine)
    assert found is None or found.near_tie


@pytest.mark.parametrize("method", ALONE)
@pytest.mark.parametrize("domain", PROMPTS)
def test_every_method_writes_vanillas_text(
    lm: dynexit.LanguageModel, domain: str, method: str
) -> None:
    prompt = PROMPTS[domain]
    plain = lm.generate(prompt, "vanilla", max_new_tokens=48)
    drafted = lm.generate(prompt, method, max_new_tokens=48)
    assert_same(lm, prompt, drafted.token_ids, plain.token_ids)


@pytest.mark.parametrize("method", ["del", "layerskip"])
def test_sampled_text_is_vanillas_with_the_same_seed(
    lm: dynexit.LanguageModel, method: str
) -> None:
    options = {"temperature": 0.8, "top_p": 0.95, "seed": 11, "max_new_tokens": 48}
    plain = lm.generate(PROMPTS["prose"], "vanilla", **options)
    assert lm.generate(PROMPTS["prose"], method, **options).token_ids == plain.token_ids
    assert lm.generate(PROMPTS["prose"], "vanilla", **{**options, "seed": 12}).text != plain.text


def test_exits_are_worth_drafting_with(lm: dynexit.LanguageModel) -> None:
    out = lm.generate(PROMPTS["word problems"], "layerskip:speculation_length=1", max_new_tokens=64)
    assert out.stats.acceptance_rate > 0.6
    texts = [token for prompt in PROMPTS.values() for token in lm.text_tokens(prompt)]
    agreement = read_exits(lm.model, texts).agreement
    quarters = [agreement[lm.num_layers * part // 4 - 1] for part in (1, 2, 3, 4)]
    assert quarters == sorted(quarters)


def test_rounds_save_passes(lm: dynexit.LanguageModel) -> None:
    out = lm.generate(PROMPTS["word problems"], "del", max_new_tokens=64)
    assert out.stats.mean_acceptance_length > 1.5
    assert out.stats.etpl * lm.num_layers > 1.0


def test_transformers_loads_it_and_writes_the_same(lm: dynexit.LanguageModel) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    ids = torch.tensor([lm.tokenizer.encode(PROMPTS["translation"])])
    expected = theirs.generate(ids, max_new_tokens=32, do_sample=False)[0, ids.shape[1] :].tolist()
    plain = lm.generate(PROMPTS["translation"], "vanilla", max_new_tokens=32).token_ids
    assert_same(lm, PROMPTS["translation"], expected[: len(plain)], plain)
