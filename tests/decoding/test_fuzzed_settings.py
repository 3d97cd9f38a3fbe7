"""Random settings of every method: one sentence, or plain decoding's text."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import random_diffusion

from dynexit import DynexitError, LanguageModel, load
from dynexit.decoding.controllers import methods
from dynexit.methods import make_controller, settings_of

pytestmark = pytest.mark.slow
PROMPT, TOKENS = [5, 6, 7, 8, 5, 6], 24
ODD = (
    *("", " ", "null", "~", "true", "no", "x", "-", ".", "0x", "0x_", "0b1", "1_0", "1e3", "1e999"),
    *(".nan", ".inf", "-.inf", "2026-99-99", "2026-01-01", "!!int x", "*a", "&a", "[", "[1]", "{}"),
    *("planned", "threshold", "'3'", "1" * 5_000, "0x" + "f" * 4_000, "[" * 900, "\x00", "\ud800"),
)
VALUES = st.one_of(
    st.integers(1, 8).map(str),
    st.integers(-3, 70).map(str),
    st.integers().map(str),
    st.floats(0, 1).map(str),
    st.floats().map(str),
    st.booleans().map(str),
    st.sampled_from(ODD),
    st.text(max_size=8),
)


@pytest.fixture(scope="module")
def lm(checkpoint):
    return load(checkpoint, device="cpu", check=False)


def outcome(lm, method):
    """Tokens, or the sentence that refuses them."""
    second = lm if method.startswith("two-model") else None
    if method.startswith("diffuspec"):
        tokens = lm.model.vocabulary_size
        shape = {"family": "llada", "vocab_size": tokens + 1, "mask_token": tokens}
        second = LanguageModel(random_diffusion(**shape))
    try:
        return lm.generate(PROMPT, method, max_new_tokens=TOKENS, draft_model=second).token_ids, ""
    except DynexitError as error:
        return None, str(error)


@pytest.mark.parametrize("method", list(methods()))
def test_random_settings(lm, method):
    names = st.one_of(st.sampled_from(settings_of(methods()[method])), st.text(max_size=5))
    given_settings = st.dictionaries(names, VALUES, min_size=1, max_size=4)
    plain = lm.generate(PROMPT, "vanilla", max_new_tokens=TOKENS).token_ids
    ran = 0

    @given(given_settings)
    @settings(
        max_examples=250,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def one_of_them(pairs):
        nonlocal ran
        told = ",".join(f"{name}={value}" for name, value in pairs.items())
        tokens, sentence = outcome(lm, f"{method}:{told}")
        if tokens is None:
            assert 0 < len(sentence) < 400
            assert "\n" not in sentence
        else:
            ran += 1
            assert tokens == plain or not make_controller(method).lossless

    one_of_them()
    assert ran > 5
    assert lm.generate(PROMPT, method="auto", max_new_tokens=TOKENS).token_ids == plain
