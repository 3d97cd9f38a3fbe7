"""On a CUDA device: recorded passes are the eager ones, and every text is plain decoding's.

In fp64, where rounding decides nothing: texts are compared with those of the CPU. In bf16 two texts
may part, at a near tie alone.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import pytest
import torch
from test_trees import Bushy
from tiny import FAMILIES, LLAMA, LOSSLESS, new_tokens, random_model

from dynexit import LanguageModel, load
from dynexit.bench.check import first_difference
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together
from dynexit.model.graphs.trial import recorded
from dynexit.model.interface import Span
from dynexit.model.readings import numbers_of

pytestmark = pytest.mark.gpu

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
DEPTH, COUNT = LLAMA.num_layers, 24
RUNTIMES = ("eager", "graphs")
SAMPLED = {"temperature": 0.9, "seed": 5, "top_p": 0.9}


@cache
def on_cpu(family="llama"):
    return random_model(FAMILIES[family], depth_gain=0.7)


@cache
def model_of(runtime, family="llama"):
    eager = random_model(FAMILIES[family], depth_gain=0.7).to("cuda")
    return recorded(eager) if runtime == "graphs" else eager


@cache
def cpu_text(**options):
    return new_tokens(on_cpu(), PROMPT, max_new_tokens=COUNT, **options)


@torch.inference_mode()
def states_of(model, lengths, counts, segment):
    """What leaves each layer of a segment, for rows of several sequences after so much past."""
    caches = [model.new_cache() for _ in lengths]
    for store, length in zip(caches, lengths, strict=True):
        past = model.embed([(7 * i + length) % LLAMA.vocab_size for i in range(length)])
        model.run_layers(past, model.rows([Span(store, 0, length)]), 0, DEPTH)
    hidden = model.embed([(5 * i + 2) % LLAMA.vocab_size for i in range(sum(counts))])
    spans = [Span(*one) for one in zip(caches, lengths, counts, strict=True)]
    states = []
    model.run_layers(hidden, model.rows(spans), *segment, states)
    return torch.stack(states).cpu()


@pytest.mark.parametrize("family", FAMILIES)
def test_passes_say_what_they_say_on_a_cpu(family):
    for rows in range(1, 18):
        segment = ((0, DEPTH), (0, 1), (0, 3), (2, DEPTH))[rows % 4]
        expected = states_of(on_cpu(family), (9,), (rows,), segment)
        for runtime in RUNTIMES:
            found = states_of(model_of(runtime, family), (9,), (rows,), segment)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_rows_of_several_sequences(runtime):
    shape = (3, 9, 20, 1), (2, 1, 5, 3)
    expected = states_of(on_cpu(), *shape, (0, DEPTH))
    found = states_of(model_of(runtime), *shape, (0, DEPTH))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("limit", [None, 1, 12])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_readings_are_those_of_the_logits(runtime, limit):
    model = model_of(runtime)
    for rows in (1, 3, 16, 70):
        hidden = torch.randn(rows, LLAMA.hidden_size, dtype=model.dtype)
        logits, found = on_cpu().unembed(hidden, limit), model.read(hidden.cuda(), limit)
        assert found.tokens.tolist() == logits.argmax(-1).tolist()
        assert found.top.tolist() == pytest.approx(logits.amax(-1).tolist())
        assert found.log_sum.tolist() == pytest.approx(logits.logsumexp(-1).tolist())


def test_of_equal_logits_the_first_and_nan_where_one_is():
    """In a vocabulary that many blocks of threads share."""
    logits = torch.zeros(4, 128_256, dtype=torch.bfloat16, device="cuda")
    logits[0, [77, 100_001]] = 3.0
    logits[1, [128_254, 128_255]] = 3.0
    logits[3, 9] = torch.nan
    tokens, top, log_sum = numbers_of(logits).cpu()
    assert tokens[:3].tolist() == [77, 128_254, 0]
    assert top[:3].tolist() == [3.0, 3.0, 0.0]
    assert log_sum.isnan().tolist() == [False, False, False, True]


@pytest.mark.parametrize("method", LOSSLESS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_methods_text_is_the_cpus(runtime, method):
    assert new_tokens(model_of(runtime), PROMPT, method, max_new_tokens=COUNT) == cpu_text()


@pytest.mark.parametrize("method", ["vanilla", "layerskip", "del", "auto"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_sampled_texts_are_plain_decodings(runtime, method):
    model, options = model_of(runtime), {"max_new_tokens": COUNT, **SAMPLED}
    expected = new_tokens(model, PROMPT, **options)
    assert expected != cpu_text()
    assert new_tokens(model, PROMPT, method, **options) == expected


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_penalties_and_logprobs(runtime):
    options = {"max_new_tokens": COUNT, "repetition_penalty": 1.4, "logprobs": 2}
    ours, theirs = (
        list(LanguageModel(model).stream(PROMPT, method, **options))
        for model, method in ((model_of(runtime), "layerskip"), (on_cpu(), "vanilla"))
    )
    assert [chunk.token_ids for chunk in ours] == [chunk.token_ids for chunk in theirs]
    said, expected = ([chunk.logprobs.logprob for chunk in text] for text in (ours, theirs))
    assert said == pytest.approx(expected)


@pytest.mark.parametrize("options", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_trees_write_plain_decodings_text(options):
    model, options = model_of("eager"), {"max_new_tokens": 60, **options}
    plain = new_tokens(model, PROMPT, **options)
    for exit_layer, nodes in ((1, 4), (2, 9), (3, 12)):
        assert new_tokens(model, PROMPT, Bushy(exit_layer, nodes), **options) == plain


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_second_model_drafts(runtime):
    small = random_model(replace(LLAMA, num_layers=2), depth_gain=0.8).to("cuda")
    second = LanguageModel(recorded(small) if runtime == "graphs" else small)
    options = {"max_new_tokens": COUNT, "draft_model": second}
    assert new_tokens(model_of(runtime), PROMPT, "two-model", **options) == cpu_text()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_texts_that_share_passes(runtime):
    lm, cpu = LanguageModel(model_of(runtime)), LanguageModel(on_cpu())
    asked = [(PROMPT[: 2 + i], method) for i in range(2) for method in ("vanilla", "layerskip")]
    texts = [lm.sequence(*one, max_new_tokens=COUNT) for one in asked]
    generate_together(texts, Scheduler(lm.model, batched=True))
    expected = [cpu.generate(one[0], max_new_tokens=COUNT).token_ids for one in asked]
    assert [text.new_tokens for text in texts] == expected


def test_threads_take_turns():
    """The first pass of one is recorded while another's run."""
    model = recorded(random_model(depth_gain=0.7).to("cuda"))
    asked = [(PROMPT[: 2 + i], method) for i in range(3) for method in ("del", "layerskip")]
    with ThreadPoolExecutor(len(asked)) as threads:
        found = list(threads.map(lambda one: new_tokens(model, *one, max_new_tokens=COUNT), asked))
    assert found == [new_tokens(on_cpu(), one[0], max_new_tokens=COUNT) for one in asked]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_in_bf16_texts_part_at_near_ties_alone(checkpoint, runtime):
    lm = load(checkpoint, "bf16", "cuda", check=False, runtime=runtime)
    prompt = [(7 * i) % 250 for i in range(300)]  # more than one pass of a prompt
    plain = lm.generate(prompt, "vanilla", max_new_tokens=100).token_ids
    for method in ("layerskip", "del", "auto", "auto:lookup=false"):
        other = lm.generate(prompt, method, max_new_tokens=100).token_ids
        difference = first_difference(lm, prompt, plain, other)
        assert difference is None or difference.near_tie, (method, difference)


@pytest.mark.parametrize("method", ["vanilla", "layerskip", "del"])
def test_a_model_over_the_card_and_the_processor(checkpoint, method):
    """A border between devices of two kinds; embedding and head are on the first."""
    options = {"method": method, "max_new_tokens": COUNT}
    whole = load(checkpoint, "fp64", "cpu", check=False).generate(PROMPT, **options)
    for devices in ("cuda,cpu", "cpu,cuda"):
        shared = load(checkpoint, "fp64", devices, check=False)
        assert {one.type for one in shared.model.devices} == {"cuda", "cpu"}
        assert shared.generate(PROMPT, **options).token_ids == whole.token_ids
