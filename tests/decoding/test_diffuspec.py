"""Drafts by a masked-diffusion model: the text is the target's own, whatever that model says."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LLAMA, decode, new_tokens, random_diffusion, random_model, scripted

from dynexit import DynexitError, Facts, LanguageModel, Sampling
from dynexit.decoding.controllers.diffuspec import DiffuSpec
from dynexit.decoding.records import Round
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together
from dynexit.model.transformer import Transformer
from dynexit.training.masked_diffusion import MaskedDiffusion, to_diffusion
from dynexit.training.recipe import Diffusion

TARGET = random_model(depth_gain=0.8)
SECONDS = {
    "LLaDA's kind": random_diffusion(family="llada"),
    "Dream's kind": random_diffusion(1, family="Dream", shifted=True, qkv_bias=True),
    "a short context": random_diffusion(2, family="llada", max_positions=12),
}
PROMPT = [3, 1, 4, 1, 5]
CYCLE = [7, 2, 9, 4, 0, 8, 1, 5, 3, 6]  # what follows each token


@pytest.fixture(scope="module")
def taught() -> tuple[Transformer, Transformer]:
    """A target that writes a cycle, and a diffusion model that a short training taught it."""
    torch.manual_seed(0)
    target = scripted(CYCLE, CYCLE)
    config = replace(LLAMA, vocab_size=10, hidden_size=32, num_layers=2)
    second = to_diffusion(random_model(config, dtype=torch.float32), 0).requires_grad_(True)
    objective = MaskedDiffusion(second, Diffusion(block_share=0.5, block=12))
    text = [0]
    while len(text) < 60:
        text.append(CYCLE[text[-1]])
    optimiser = torch.optim.AdamW(second.parameters(), lr=0.01)
    for step in range(150):
        starts = torch.randint(10, (8,)).tolist()
        objective(
            torch.tensor([text[start : start + 33] for start in starts]), step, 0
        ).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    second.requires_grad_(False).vocabulary_size = 10
    return target, second


@pytest.mark.parametrize("second", SECONDS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"d_min": 1, "d_max": 3}, {"paths": 3, "mass": 1.0}, {"recent": 0}, {"trigrams": 0.0}],
    ids=str,
)
def test_text_is_vanillas(second, changes):
    plain, _ = decode(TARGET, PROMPT, "vanilla", 24)
    sequence, _ = decode(TARGET, PROMPT, "diffuspec", 24, second=SECONDS[second], **changes)
    assert sequence.new_tokens == plain.new_tokens
    assert sequence.finish_reason == plain.finish_reason
    assert sequence.stats.drafted > 0


@settings(deadline=None, max_examples=40)
@given(
    prompt=st.lists(st.integers(0, 28), min_size=1, max_size=12),
    seed=st.integers(0, 99),
    second=st.sampled_from(sorted(SECONDS)),
    eos=st.sets(st.integers(0, 28), max_size=3),
    rule=st.sampled_from(
        [
            {"temperature": 0.0},
            {"temperature": 0.0, "repetition_penalty": 1.3},
            {"temperature": 1.3},
            {"temperature": 0.9, "top_k": 5, "frequency_penalty": 0.4},
        ]
    ),
    paths=st.integers(1, 3),
    recent=st.sampled_from([None, 0, 3]),
)
def test_text_is_vanillas_for_any_prompt_seed_and_end(
    prompt, seed, second, eos, rule, paths, recent
):
    sampling = Sampling(seed=seed, **rule)
    common = {"max_new_tokens": 20, "eos": frozenset(eos), "sampling": sampling}
    plain, _ = decode(TARGET, prompt, "vanilla", **common)
    given_settings = {"paths": paths, "recent": recent, "second": SECONDS[second]}
    sequence, _ = decode(TARGET, prompt, "diffuspec", **common, **given_settings)
    assert sequence.new_tokens == plain.new_tokens
    assert sequence.finish_reason == plain.finish_reason


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_a_model_of_another_precision_leaves_noise_as_it_is(temperature):
    """The target's noise is drawn in its own dtype, whoever asks for it first."""
    rule, second = (
        Sampling(temperature, seed=4),
        random_diffusion(family="llada", dtype=torch.float32),
    )
    plain, _ = decode(TARGET, PROMPT, "vanilla", 20, sampling=rule)
    sequence, _ = decode(TARGET, PROMPT, "diffuspec", 20, sampling=rule, second=second)
    assert sequence.new_tokens == plain.new_tokens


@pytest.mark.parametrize("recent", [None, 4])
def test_a_trained_model_is_mostly_right(taught, recent):
    target, second = taught
    plain, _ = decode(target, [0], "vanilla", 40)
    sequence, _ = decode(
        target, [0], "diffuspec", 40, second=second, recent=recent, d_min=8, d_max=8
    )
    assert sequence.new_tokens == plain.new_tokens
    assert sequence.stats.mean_acceptance_length > 5
    told = sequence.stats.as_dict()["round_records"]
    assert set(told["drafter"]) == {"diffusion"}
    assert set(told["exit_layer"]) == {0}


def test_a_trained_model_is_mostly_right_in_sampling(taught):
    target, second = taught
    rule = Sampling(temperature=0.7, seed=5)
    plain, _ = decode(target, [0], "vanilla", 40, sampling=rule)
    sequence, _ = decode(target, [0], "diffuspec", 40, sampling=rule, second=second)
    assert sequence.new_tokens == plain.new_tokens
    assert sequence.stats.mean_acceptance_length > 3


def test_several_paths_are_one_tree_and_accept_no_less():
    accepted = []
    for paths in (1, 3):
        sequence, _ = decode(
            TARGET, PROMPT, "diffuspec", 40, second=SECONDS["Dream's kind"], paths=paths, d_max=20
        )
        accepted.append(sequence.stats.accepted)
        trees = [one for one in sequence.stats.rounds if one.draft and one.draft.parents]
        assert bool(trees) == (paths > 1)
    assert accepted[1] >= accepted[0]


def test_only_recent_tokens_are_read_again():
    ran = {}
    for recent in (None, 2):
        second, passes = random_diffusion(family="llada"), []
        second.layers[0].register_forward_hook(
            lambda _, inputs, __, passes=passes: passes.append(len(inputs[0]))
        )
        sequence, _ = decode(
            TARGET, PROMPT, "diffuspec", 40, second=second, recent=recent, d_min=3, d_max=3
        )
        ran[recent] = passes, [one.tokens for one in sequence.stats.rounds]
    passes, tokens = ran[None]
    lengths = [len(PROMPT) + 1 + sum(tokens[:index]) for index in range(len(passes))]
    assert passes[:-2] == [length + 3 for length in lengths][:-2]  # the last ones are shorter
    passes, tokens = ran[2]
    assert passes[0] == len(PROMPT) + 1 + 3
    assert max(passes[1:]) <= 2 + max(tokens) + 3


def test_a_context_too_short_for_the_text_ends_drafting_not_the_text():
    second = SECONDS["a short context"]
    sequence, _ = decode(TARGET, PROMPT, "diffuspec", 24, second=second)
    assert 0 < sequence.stats.rounds[0].drafted <= 12 - 6
    assert sequence.stats.rounds[-1].drafted == 0


def test_weights_that_are_not_numbers_draft_nothing():
    second = random_diffusion(family="llada")
    second.head.weight[3] = float("nan")
    plain, _ = decode(TARGET, PROMPT, "vanilla", 12)
    sequence, _ = decode(TARGET, PROMPT, "diffuspec", 12, second=second)
    assert sequence.new_tokens == plain.new_tokens
    assert sequence.stats.drafted == 0


def test_texts_that_share_passes_are_each_its_own():
    """Passes of both models are shared, too: spans of the diffusion model see their own text."""
    lm, second = LanguageModel(TARGET), LanguageModel(SECONDS["Dream's kind"])
    prompts = PROMPT, [7], [1, 2, 3] * 4
    options = {"max_new_tokens": 20, "draft_model": second}
    alone = [lm.generate(one, max_new_tokens=20, method="vanilla").token_ids for one in prompts]
    started = [lm.sequence(one, "diffuspec", **options) for one in prompts]
    generate_together(started, Scheduler(TARGET))
    assert [one.new_tokens for one in started] == alone
    assert all(one.stats.drafted for one in started)


def test_speculative_acceptance_runs_with_a_diffusion_model():
    rule = Sampling(temperature=1.0, seed=3, acceptance="speculative")
    second = SECONDS["LLaDA's kind"]
    sequence, _ = decode(TARGET, PROMPT, "diffuspec", 24, sampling=rule, second=second, d_max=20)
    assert len(sequence.new_tokens) == 24
    assert sequence.stats.drafted > 0
    assert all(one.draft.parents is None for one in sequence.stats.rounds if one.draft)


def test_blocks_follow_what_was_accepted():
    method = DiffuSpec()
    method.start(Facts(5, None, None, None, None, None, None))

    def planned(drafted, accepted):
        plan = method.plan()
        method.observe(Round(plan, drafted, accepted, accepted + 1))
        return plan.speculation_length

    assert planned(20, 20) == 20  # all of it accepted: ten more
    assert planned(30, 0) == 30
    assert planned(25, 0) == 25  # the mean of 20 and 30
    assert planned(4, 0) == 25
    assert planned(4, 0) == 20  # never below the least


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"d_min": 25, "d_max": 22}, "d_min is 25: it must not be above d_max, 22"),
        ({"paths": 4}, "paths is 4: it must not be above beam, 3"),
        ({"mass": 1.5}, "mass is 1.5"),
    ],
)
def test_contradicting_settings_are_refused(changes, said):
    with pytest.raises(DynexitError, match=said):
        decode(TARGET, PROMPT, "diffuspec", 4, second=SECONDS["LLaDA's kind"], **changes)


def test_without_a_diffusion_model_it_says_what_to_give():
    with pytest.raises(DynexitError, match="masked-diffusion model: give draft_model"):
        new_tokens(TARGET, PROMPT, "diffuspec")
    with pytest.raises(DynexitError, match="not a masked-diffusion model"):
        decode(TARGET, PROMPT, "diffuspec", second=TARGET)
    with pytest.raises(DynexitError, match="use method diffuspec"):
        decode(TARGET, PROMPT, "two-model", second=SECONDS["LLaDA's kind"])


def test_another_vocabulary_is_refused():
    other = random_diffusion(family="llada")
    other.vocabulary_size = 28
    with pytest.raises(DynexitError, match="other has 28 tokens but model has 29"):
        LanguageModel(TARGET).generate(
            PROMPT, "diffuspec", draft_model=LanguageModel(other, name="other")
        )


def test_a_diffusion_model_writes_no_text_of_its_own():
    lm = LanguageModel(SECONDS["LLaDA's kind"], name="small")
    assert lm.kind == "diffusion"
    with pytest.raises(
        DynexitError, match="small is a masked-diffusion model, which writes no text"
    ):
        lm.generate(PROMPT)
