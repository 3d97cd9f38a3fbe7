"""The model that comes along: real text, every method, in the machine's own arithmetic."""

import pytest
import torch

import dynexit
from dynexit.agreement import read_text
from dynexit.decoding.controllers import methods
from dynexit.model.rows import Span

PROMPTS = {
    "word problems": "Question: Lena buys 3 boxes of 8 crayons and gives 5 crayons to her brother. "
    "How many crayons does she have left?\nAnswer:",
    "translation": "German: Wir fahren morgen mit dem Zug nach Berlin.\nEnglish:",
    "prose": "The old house stood at the end of the lane, and nobody in the village",
    "python": 'def count_words(text):\n    """Return how often each word of text occurs."""\n',
}
NEAR_TIE = 1e-3  # of two logits in fp32, far above the rounding of a product over 256 terms


@pytest.fixture(scope="module")
def lm() -> dynexit.LanguageModel:
    return dynexit.load(dtype="fp32", device="cpu")


def gap_at_first_difference(
    lm: dynexit.LanguageModel, prompt: str, mine: list[int], theirs: list[int]
) -> float:
    at = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b)
    context = torch.tensor([*lm.tokenizer.encode(prompt), *theirs[:at]])
    rows = lm.model.rows([Span(lm.model.new_cache(), 0, len(context))])
    with torch.inference_mode():
        hidden = lm.model.run_layers(lm.model.embed(context), rows, 0, lm.num_layers)
        first, second = lm.model.unembed(hidden[-1:]).topk(2).values[0].tolist()
    return first - second


@pytest.mark.parametrize("method", [name for name, make in methods().items() if make().lossless])
@pytest.mark.parametrize("domain", PROMPTS)
def test_every_method_writes_vanillas_text(
    lm: dynexit.LanguageModel, domain: str, method: str
) -> None:
    prompt = PROMPTS[domain]
    plain = lm.generate(prompt, "vanilla", max_new_tokens=48)
    drafted = lm.generate(prompt, method, max_new_tokens=48)
    if drafted.token_ids != plain.token_ids:
        gap = gap_at_first_difference(lm, prompt, drafted.token_ids, plain.token_ids)
        assert gap < NEAR_TIE


@pytest.mark.parametrize("method", ["del", "layerskip"])
def test_sampled_text_is_vanillas_with_the_same_seed(
    lm: dynexit.LanguageModel, method: str
) -> None:
    options = {"temperature": 0.8, "top_p": 0.95, "seed": 11, "max_new_tokens": 48}
    plain = lm.generate(PROMPTS["prose"], "vanilla", **options)
    assert lm.generate(PROMPTS["prose"], method, **options).token_ids == plain.token_ids
    assert lm.generate(PROMPTS["prose"], "vanilla", **{**options, "seed": 12}).text != plain.text


def test_exits_are_worth_drafting_with(lm: dynexit.LanguageModel) -> None:
    out = lm.generate(PROMPTS["word problems"], "layerskip", max_new_tokens=64)
    assert out.stats.acceptance_rate > 0.35
    agreement = read_text(lm, PROMPTS["word problems"]).agreement
    quarters = [agreement[lm.num_layers * part // 4 - 1] for part in (1, 2, 3, 4)]
    assert quarters == sorted(quarters)


def test_rounds_save_passes(lm: dynexit.LanguageModel) -> None:
    out = lm.generate(PROMPTS["word problems"], "del", max_new_tokens=64)
    assert out.stats.mean_acceptance_length > 1.5
    assert out.stats.etpl * lm.num_layers > 1.0


def test_transformers_loads_it_and_writes_the_same(lm: dynexit.LanguageModel) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(
        dynexit.language_model.BUNDLED, dtype=torch.float32
    )
    ids = torch.tensor([lm.tokenizer.encode(PROMPTS["translation"])])
    expected = theirs.generate(ids, max_new_tokens=32, do_sample=False)[0, ids.shape[1] :].tolist()
    plain = lm.generate(PROMPTS["translation"], "vanilla", max_new_tokens=32).token_ids
    if plain != expected[: len(plain)]:
        assert gap_at_first_difference(lm, PROMPTS["translation"], expected, plain) < NEAR_TIE
