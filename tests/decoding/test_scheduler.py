"""Several sequences at once: each writes what it would have written alone."""

import gc
import random
import weakref

import pytest
import torch
from tiny import LLAMA, LOSSLESS, random_model

import dynexit
from dynexit import Controller, DynexitError, LanguageModel, Plan
from dynexit.decoding import scheduler as scheduler_module
from dynexit.decoding.drafters import clasp_search
from dynexit.decoding.scheduler import Scheduler
from dynexit.decoding.together import generate_together

PROMPTS = (
    "Question: Tom has 4 boxes of 6 pens. How many pens has he?\nAnswer:",
    "German: Guten Morgen!\nEnglish:",
    "def area(width, height):\n",
    "The old house",
)
RULES = ({}, {"temperature": 0.9, "seed": 5}, {"temperature": 0.7, "seed": 1, "top_k": 40})


@pytest.fixture(scope="module")
def lm():
    """The model that comes along, in the native runtime."""
    loaded = dynexit.load(device="cpu", check=False)
    if not loaded.model.rows_independent:
        pytest.skip("there is no native library here")
    return loaded


@pytest.fixture(scope="module")
def tiny_lm():
    return LanguageModel(random_model(depth_gain=0.7))


def run_all(scheduler, arriving):
    """Run sequences that arrive at given ticks to their ends; returns errors."""
    arrivals, running, errors, tick = list(arriving), {}, {}, 0
    while arrivals or running:
        for at, sequence in [pair for pair in arrivals if pair[0] <= tick]:
            running[scheduler.add(sequence.prefill())] = sequence
            arrivals.remove((at, sequence))
        for task in scheduler.tick():
            sequence = running.pop(task)
            if task.error:
                errors[sequence] = str(task.error)
            elif sequence.finish_reason is None:
                running[scheduler.add(sequence.round())] = sequence
        tick += 1
    assert len(scheduler) == 0
    return errors


def mixture(lm, methods, prompts, rules, seed=0):
    """Random combinations of everything, and what each writes alone."""
    chance = random.Random(seed)
    asked = [
        (
            chance.choice(prompts),
            method,
            {"max_new_tokens": chance.randint(1, 40), **chance.choice(rules)},
        )
        for method in methods
    ]
    alone = [lm.generate(prompt, method, **options) for prompt, method, options in asked]
    started = [lm.sequence(prompt, method, **options) for prompt, method, options in asked]
    return alone, started, chance


@pytest.mark.parametrize("batched", [True, False])
def test_a_mixture_of_methods_and_rules_arriving_one_after_the_other(lm, batched, monkeypatch):
    monkeypatch.setattr(clasp_search, "_measured", lambda *_: (2, 2))  # so that plans are the same
    alone, started, chance = mixture(lm, [*LOSSLESS, "vanilla", "layerskip"], PROMPTS, RULES)
    errors = run_all(
        Scheduler(lm.model, batched), ((chance.randint(0, 60), sequence) for sequence in started)
    )
    assert not errors
    for expected, sequence in zip(alone, started, strict=True):
        assert sequence.new_tokens == expected.token_ids
        assert sequence.finish_reason == expected.finish_reason
        if sequence.controller.reads_costs:  # and clocks, which tell another time in a batch
            continue
        plans = [(r.plan, r.drafted, r.accepted) for r in sequence.stats.rounds]
        assert plans == [(r.plan, r.drafted, r.accepted) for r in expected.stats.rounds]


def test_the_eager_runtime_shares_passes_where_it_is_asked_to(tiny_lm):
    assert not Scheduler(tiny_lm.model).batched
    prompts = [[3, 1, 4], [1, 5, 9, 2, 6], [5, 3], [5, 8, 9, 7, 9]]
    ending = tiny_lm.generate(prompts[0], max_new_tokens=12).token_ids[-1]
    lm = LanguageModel(tiny_lm.model, eos=frozenset({ending}))
    alone, started, chance = mixture(lm, LOSSLESS * 2, prompts, RULES)
    assert {out.finish_reason for out in alone} == {"stop", "length"}  # EOS at different times
    errors = run_all(
        Scheduler(tiny_lm.model, batched=True), ((chance.randint(0, 20), s) for s in started)
    )
    assert not errors
    assert [s.new_tokens for s in started] == [out.token_ids for out in alone]


def test_prompts_of_all_lengths_share_with_rounds(tiny_lm, monkeypatch):
    monkeypatch.setattr(scheduler_module, "LONG", 8)
    prompts = [[i % 29 for i in range(length)] for length in (1, 7, 8, 9, 40, 90)]
    alone, started, chance = mixture(tiny_lm, LOSSLESS * 2, prompts, RULES, seed=3)
    run_all(Scheduler(tiny_lm.model, batched=True), ((chance.randint(0, 9), s) for s in started))
    assert [s.new_tokens for s in started] == [out.token_ids for out in alone]


class Counting:
    """A model that counts passes."""

    def __init__(self, model):
        self._model, self.passes, self.heads = model, 0, 0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def run_layers(self, *arguments):
        self.passes += 1
        return self._model.run_layers(*arguments)

    def read(self, *arguments):
        self.heads += 1
        return self._model.read(*arguments)


@pytest.mark.parametrize("method", ["vanilla", "layerskip:exit_layer=2,speculation_length=3"])
def test_equal_sequences_cost_the_passes_of_one(tiny_lm, method):
    def cost(count):
        lm = LanguageModel(Counting(tiny_lm.model))
        started = [lm.sequence([3, 1, 4], method, max_new_tokens=16) for _ in range(count)]
        run_all(Scheduler(lm.model, batched=True), ((0, sequence) for sequence in started))
        return lm.model.passes, lm.model.heads

    assert cost(5) == cost(1)


def test_verifications_wait_for_drafts_and_are_one_pass(tiny_lm):
    lm = LanguageModel(Counting(tiny_lm.model))
    settings = [(1, 2), (2, 4), (3, 1), (4, 3)]
    started = [
        lm.sequence([3, 1, 4], "layerskip", exit_layer=e, speculation_length=d, max_new_tokens=40)
        for e, d in settings
    ]
    scheduler = Scheduler(lm.model, batched=True)
    tasks = {scheduler.add(sequence.prefill()) for sequence in started}
    while tasks:
        tasks -= set(scheduler.tick())
    tasks = {scheduler.add(sequence.round()) for sequence in started}
    ended = []
    while not ended:
        ended = scheduler.tick()
    assert set(ended) == tasks  # all in the same tick


class Failing(Controller):
    """Raises in its third round."""

    rounds = 0

    def plan(self):
        self.rounds += 1
        if self.rounds == 3:
            raise RuntimeError("a controller of the user's")
        return Plan(2, 2)


@pytest.mark.parametrize("batched", [True, False])
def test_an_error_in_one_sequence_ends_that_one_alone(tiny_lm, batched):
    alone = tiny_lm.generate([3, 1, 4], "layerskip", max_new_tokens=20)
    started = [
        tiny_lm.sequence([3, 1, 4], method, max_new_tokens=20)
        for method in (Failing(), "layerskip", Failing(), "vanilla")
    ]
    errors = run_all(Scheduler(tiny_lm.model, batched), ((0, sequence) for sequence in started))
    assert errors == dict.fromkeys(started[::2], "a controller of the user's")
    assert [s.new_tokens for s in started[1::2]] == [alone.token_ids] * 2


class OutOfMemory(Counting):
    """Has no memory for one sequence's cache, alone or in a batch."""

    victim = None

    def run_layers(self, hidden, rows, *rest):
        if any(span.cache is self.victim for span in rows.spans):
            raise DynexitError("no memory left")
        return super().run_layers(hidden, rows, *rest)


def test_an_error_of_a_shared_pass_meets_only_whose_rows_they_are(tiny_lm):
    lm = LanguageModel(OutOfMemory(tiny_lm.model))
    started = [lm.sequence([3, 1, 4], "layerskip", max_new_tokens=20) for _ in range(3)]
    lm.model.victim = started[1].cache
    errors = run_all(Scheduler(lm.model, batched=True), ((0, sequence) for sequence in started))
    assert errors == {started[1]: "no memory left"}
    alone = tiny_lm.generate([3, 1, 4], "layerskip", max_new_tokens=20).token_ids
    assert started[0].new_tokens == started[2].new_tokens == alone[: len(started[0].new_tokens)]


def test_a_dropped_sequence_leaves_the_others(tiny_lm):
    alone = tiny_lm.generate([3, 1, 4], "del", max_new_tokens=20)
    kept, left = (tiny_lm.sequence([3, 1, 4], "del", max_new_tokens=20) for _ in range(2))
    scheduler = Scheduler(tiny_lm.model, batched=True)
    dropped, task = scheduler.add(left.prefill()), scheduler.add(kept.prefill())
    scheduler.tick()
    scheduler.drop(dropped)
    while not task.done:
        scheduler.tick()
    run_all(scheduler, iter([]))
    assert left.new_tokens == []
    with torch.inference_mode():
        while kept.finish_reason is None:
            task = scheduler.add(kept.round())
            while not task.done:
                scheduler.tick()
    assert kept.new_tokens == alone.token_ids


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("dropped", [True, False])
def test_a_task_that_is_kept_keeps_no_cache(lm, batched, dropped):
    text = lm.sequence("Hello", max_new_tokens=9)
    scheduler = Scheduler(lm.model, batched)
    tasks = [scheduler.add(text.prefill())]
    while not tasks[0].done:
        scheduler.tick()
    while text.finish_reason is None:
        tasks.append(scheduler.add(text.round()))
        if dropped:
            scheduler.drop(tasks[-1])
            break
        while not tasks[-1].done:
            scheduler.tick()
    cache = weakref.ref(text.cache)
    gc.collect()
    gc.disable()
    try:
        text.release()
        assert cache() is None
    finally:
        gc.enable()


class Companions(Controller):
    """Keeps how many made each round."""

    def __init__(self):
        self.heard = []

    def share(self, batch_size):
        self.heard.append(batch_size)


@pytest.mark.parametrize("batched", [True, False])
def test_texts_together_are_told_how_many_share_a_round(tiny_lm, batched):
    prompts, wanted = [[3, 1, 4], [1, 5], [9]], (4, 9, 20)
    heard = [Companions() for _ in prompts]
    started = [
        tiny_lm.sequence(prompt, controller, max_new_tokens=count)
        for prompt, controller, count in zip(prompts, heard, wanted, strict=True)
    ]
    generate_together(started, Scheduler(tiny_lm.model, batched))
    for prompt, count, sequence in zip(prompts, wanted, started, strict=True):
        assert sequence.new_tokens == tiny_lm.generate(prompt, max_new_tokens=count).token_ids
        assert 0 < sequence.stats.decode_seconds < 60
        assert sequence.cache.length == 0  # its memory is given back
    if batched:
        assert heard[2].heard == [3] * 3 + [2] * 5 + [1] * 11
    else:
        assert {one for controller in heard for one in controller.heard} == {1}


def test_what_ends_one_text_ends_all_that_run_together(tiny_lm):
    started = [tiny_lm.sequence([3, 1], one, max_new_tokens=9) for one in (Controller(), Failing())]
    with pytest.raises(RuntimeError, match="of the user's"):
        generate_together(started, Scheduler(tiny_lm.model, batched=True))


def test_steps_that_ask_for_nothing_end_at_once(tiny_lm):
    def nothing():
        yield from ()
        return LLAMA

    scheduler = Scheduler(tiny_lm.model)
    task = scheduler.add(nothing())
    assert scheduler.tick() == [task]
    assert task.result is LLAMA
