"""One model, several threads: every text is what it is alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import dynexit

PROMPTS = (
    "German: Guten Morgen!\nEnglish:",
    "def area(width, height):\n",
    "The old house",
    "1 + 1",
)


@pytest.mark.parametrize("runtime", ["native", "eager"])
def test_a_model_may_generate_in_several_threads(runtime):
    lm = dynexit.load(device="cpu", runtime=runtime, check=False)
    asked = [
        (prompt, method, {"max_new_tokens": 24, "temperature": temperature, "seed": 1})
        for prompt in PROMPTS
        for method, temperature in (("del", 0.0), ("layerskip", 0.8))
    ]
    with ThreadPoolExecutor(len(asked)) as threads:  # first of all, so that tables grow in a race
        together = list(threads.map(lambda a: lm.generate(a[0], a[1], **a[2]).text, asked))
    assert together == [lm.generate(p, m, **options).text for p, m, options in asked]
