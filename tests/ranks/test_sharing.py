"""A model that several processes hold computes what one process computes."""

import gc
import re
import signal
import sys
from functools import cache
from pathlib import Path

import psutil
import pytest
import torch
from ranked import SHAPES, alone, logits_of, shared, text_of
from test_diffuspec import SECONDS
from test_trees import Bushy
from tiny import decode

from dynexit import DynexitError, LanguageModel, Sampling
from dynexit.decoding.controllers import methods
from dynexit.decoding.loop import finish
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together
from dynexit.methods import make_controller
from dynexit.model.config import ModelConfig
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.interface import BLOCK, Span
from dynexit.model.loading import load_shape
from dynexit.model.places import BUNDLED
from dynexit.model.ranks.cuts import check_division
from dynexit.model.ranks.loading import load_sharded

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
PROMPTS = PROMPT, [7], [1, 2, 3] * 6


@pytest.fixture(scope="module")
def whole(folders):
    return cache(lambda name: alone(folders[name]))


@pytest.fixture(scope="module")
def parts(ranks, folders):
    return cache(lambda name: shared(ranks, folders[name]))


def test_logits_of_every_kind_of_layer(whole, parts):
    for name in SHAPES:
        expected = logits_of(whole(name), PROMPT, (1, 3, 5))
        torch.testing.assert_close(logits_of(parts(name), PROMPT, (1, 3, 5)), expected)


def test_logits_of_the_bundled_model_in_fp32(ranks):
    if ranks.size == 4:
        pytest.skip("it has two key/value heads")
    prompt = list(range(40, 300, 7))
    expected = logits_of(alone(BUNDLED, torch.float32), prompt, (3, 20))
    got = logits_of(shared(ranks, BUNDLED, torch.float32), prompt, (3, 20))
    assert (got - expected).abs().max() < 1e-4


@pytest.mark.parametrize("limit", [None, 1, 9, 20, 29])
@pytest.mark.parametrize("chosen", [(), (28, 3, 14, 0, 15, 7, 8, 22, 21, 1)])
def test_readings_are_those_of_the_logits(whole, parts, limit, chosen):
    one, several = whole("llama"), parts("llama")
    for model in (one, several):
        model.draft_by(DraftTokens(chosen))
    hidden = torch.randn(6, 16, dtype=torch.float64)
    with torch.inference_mode():
        logits, found = one.unembed(hidden, limit), several.read(hidden, limit)
        torch.testing.assert_close(several.unembed(hidden, limit), logits)
        liked = several.candidates(hidden, 3, limit), one.candidates(hidden, 3, limit)
    assert found.tokens.tolist() == logits.argmax(-1).tolist()
    torch.testing.assert_close(torch.tensor(found.log_sum), logits.logsumexp(-1).float())
    assert [[t for t, p in row if p] for row in liked[0]] == [
        [t for t, p in row if p] for row in liked[1]
    ]
    several.draft_by(DraftTokens())
    one.draft_by(DraftTokens())


def test_a_row_that_is_no_number_is_told(parts):
    hidden = torch.ones(2, 16, dtype=torch.float64)
    hidden[1, 3] = torch.nan
    with torch.inference_mode():
        confidence = parts("llama").read(hidden).confidence
    assert 0 < confidence[0] < 1
    assert confidence[1] != confidence[1]


@pytest.mark.parametrize("method", methods())
def test_texts_of_every_method(whole, parts, method):
    seconds = {"two-model": parts("small"), "diffuspec": next(iter(SECONDS.values()))}
    second = seconds.get(method)
    for rule, prompt in (Sampling(), PROMPTS[2]), (Sampling(0.9, 9, seed=3), PROMPT):
        options = {"max_new_tokens": 16, "sampling": rule}
        expected, _ = decode(whole("llama"), prompt, **options)
        got, _ = decode(parts("llama"), prompt, method, second=second, **options)
        assert got.tokens == expected.tokens or not make_controller(method).lossless


def test_drafts_that_branch(whole, parts):
    counted = 0
    for prompt in PROMPTS:
        expected, _ = decode(whole("llama"), prompt, max_new_tokens=40)
        got, _ = decode(parts("llama"), prompt, Bushy(2, 9), max_new_tokens=40)
        assert got.tokens == expected.tokens
        counted += sum(r.accepted for r in got.stats.rounds)
    assert counted  # moved in the caches of all processes


def test_texts_in_shared_passes(whole, parts):
    several = LanguageModel(parts("llama"))
    sequences = [
        several.sequence(prompt, "layerskip", exit_layer=2, speculation_length=n, max_new_tokens=30)
        for n, prompt in enumerate(PROMPTS, 2)
    ]
    generate_together(sequences, Scheduler(several.model, batched=True))
    for prompt, sequence in zip(PROMPTS, sequences, strict=True):
        expected = text_of(whole("llama"), prompt, max_new_tokens=30)
        assert sequence.tokens[len(prompt) :] == expected


def test_a_prefix_that_is_known_is_not_computed_again(whole, parts):
    several = LanguageModel(parts("llama"))
    reuse, prompt = several.reuse("1MB"), [n % 29 for n in range(2 * BLOCK + 5)]
    for _ in range(2):
        text = several.sequence(prompt, "vanilla", max_new_tokens=8, reuse=reuse)
        finish(text)
        assert text.tokens[len(prompt) :] == text_of(whole("llama"), prompt, max_new_tokens=8)
    assert text.stats.cached_tokens == 2 * BLOCK


def test_caches_are_let_go_in_all_processes(ranks, parts):
    model = parts("llama")
    text_of(model, PROMPT, max_new_tokens=4)
    gc.collect()
    model.embed([1])  # a call brings the news
    assert not model._caller.member._caches


def test_each_process_holds_its_share(ranks, whole, parts):
    several = parts("llama")
    whole_bytes = sum(p.nbytes for p in whole("llama").parameters())
    norms = sum(p.nbytes for p in whole("llama").parameters() if p.ndim == 1)
    assert len(several.rank_bytes) == ranks.size
    assert sum(several.rank_bytes) == whole_bytes + (ranks.size - 1) * norms
    assert max(several.rank_bytes) < 1.1 * whole_bytes / ranks.size + norms


def peak_of(process):
    """Bytes that a process has held at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1_024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak from /proc")
def test_each_process_reads_its_share_only(ranks, folders):
    """Of 140 MB: at the peak, a process holds its share and, from the files, a matrix's."""
    helpers = psutil.Process().children()
    before = [peak_of(one) for one in helpers]
    several = shared(ranks, folders["large"], torch.float32)
    share = several.layer_bytes // ranks.size
    for one, start, held in zip(helpers, before, several.rank_bytes[1:], strict=True):
        assert held == pytest.approx(share, rel=0.03)
        assert peak_of(one) - start < 1.2 * share + 8e6


def test_a_context_that_is_over_ends_one_text_only(whole, parts):
    several, long = parts("llama"), [n % 29 for n in range(200)]
    with pytest.raises(DynexitError, match="past the model's context of 160"):
        several.verify(long, Span(several.new_cache(), 0, 200), 0, 5)
    short = {"max_new_tokens": 8}
    assert text_of(several, PROMPT, **short) == text_of(whole("llama"), PROMPT, **short)


def test_an_interrupt_waits_for_the_end_of_a_call(parts, monkeypatch):
    model = parts("llama")
    run, seen = model._caller.member.run, []

    def interrupted(call):
        signal.raise_signal(signal.SIGINT)
        seen.append(run(call))
        return seen[-1]

    monkeypatch.setattr(model._caller.member, "run", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # parallel tests ignore it
    with pytest.raises(KeyboardInterrupt):
        model.embed([1, 2])
    signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    assert torch.equal(model.embed([1, 2]), seen[0])


@pytest.mark.parametrize(
    ("heads", "size", "words"),
    [
        ((4, 2), 4, "4 processes cannot share 4 heads over 2 key/value heads evenly: start 1 or 2"),
        ((9, 3), 2, "2 processes cannot share 9 heads over 3 key/value heads evenly: start 1 or 3"),
    ],
)
def test_heads_that_do_not_divide_are_refused(heads, size, words):
    config = ModelConfig("llama", 29, 16, 24, 5, *heads, 8, 160)
    with pytest.raises(DynexitError, match=words):
        check_division(config, size)


@pytest.mark.parametrize(
    ("runtime", "devices", "words"),
    [
        ("native", ["cpu"], "the native runtime runs in one process"),
        ("graphs", ["cpu"], "the graphs runtime runs in one process"),
        (None, ["cpu", "cpu"], "has a device of its own"),
        (None, ["cuda:1"], "has a device of its own"),
        (None, ["cuda"], "process 0 of . has no card: this machine has 0"),
    ],
)
def test_what_processes_cannot_share(ranks, folders, runtime, devices, words):
    folder, where = folders["llama"], [torch.device(name) for name in devices]
    with pytest.raises(DynexitError, match=words):
        load_sharded(ranks, runtime, folder, load_shape(folder), torch.float32, where)
