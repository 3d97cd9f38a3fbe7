"""The evaluation harness's own client against a server: the adapter's numbers and texts."""

import pytest

pytest.importorskip("lm_eval", reason="the extra dynexit[lm-eval] is not installed")

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from running import PROMPTS

from dynexit.integrations.lm_eval import DynexitLM
from dynexit.model.places import BUNDLED

PAIRS = [
    ("Question: Two and two?\nAnswer:", " four"),
    ("Question: The colour of snow?\nAnswer:", " white as snow"),
    ("def area(width, height):\n", "    return width * height\n"),
    ("German: Guten Morgen!\nEnglish:", " Good morning!"),
    ("Emoji 😀", "😀 and €"),
]


@pytest.fixture(scope="module")
def adapter():
    return DynexitLM(device="cpu", method="vanilla")


@pytest.fixture(scope="module", params=[1, 3], ids=["one by one", "three at a time"])
def remote(server, request):
    return LocalCompletionsAPI(
        base_url=f"{server.url}/v1/completions",
        model="bundled",
        tokenizer=str(BUNDLED),
        tokenizer_backend="huggingface",
        batch_size=request.param,
        max_length=2048,
    )


def instances(kind, arguments):
    return [Instance(kind, {}, one, at) for at, one in enumerate(arguments)]


def test_log_likelihoods_are_the_adapters(adapter, remote):
    asked = instances("loglikelihood", PAIRS)
    expected, told = adapter.loglikelihood(asked, True), remote.loglikelihood(asked, True)
    for (ours, greedy), (theirs, their_greedy) in zip(told, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
        assert greedy == their_greedy


def test_a_text_that_eos_would_end_is_scored_whole(adapter, remote, lm, client):
    """Whoever scores drops the last token, which must be there even where it is EOS."""
    end = lm.tokenizer.backend.id_to_token(min(lm.eos))
    ended = next(
        (prompt, lm.generate(prompt, "vanilla", max_new_tokens=400).text)
        for prompt in PROMPTS
        if lm.generate(prompt, "vanilla", max_new_tokens=400).finish_reason == "stop"
    )
    ids = lm.tokenizer.encode("".join(ended))
    answer = client.completions.create(
        model="bundled", prompt=ids, max_tokens=1, temperature=0, echo=True, logprobs=1
    )
    said = answer.choices[0].logprobs
    assert (len(said.tokens), said.tokens[-1]) == (len(ids) + 1, end)
    assert answer.usage.completion_tokens == 0
    asked = instances("loglikelihood", [ended])
    assert remote.loglikelihood(asked, True)[0][0] == pytest.approx(
        adapter.loglikelihood(asked, True)[0][0], rel=1e-3, abs=1e-2
    )


def test_rolling_log_likelihoods_are_the_adapters(adapter, remote):
    asked = instances("loglikelihood_rolling", [(PROMPTS[0],), (PROMPTS[3] * 3,)])
    expected = adapter.loglikelihood_rolling(asked, True)
    assert remote.loglikelihood_rolling(asked, True) == pytest.approx(expected, rel=1e-3)


def test_texts_are_the_adapters(adapter, remote):
    wanted = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False}
    asked = instances("generate_until", [(prompt, wanted) for prompt in PROMPTS])
    assert remote.generate_until(asked, True) == adapter.generate_until(asked, True)
