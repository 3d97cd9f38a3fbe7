"""Runs a shard in this process: loads its model once, times every method on every example."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dynexit.bench.options import Options, Shard
from dynexit.bench.peers import Peer, find_peer, is_peer
from dynexit.bench.records import Record, conditions
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.decoding.statistics import Statistics
from dynexit.environment import PeakMemory, environment
from dynexit.errors import DynexitError
from dynexit.language_model import Generation, LanguageModel, Prompt, load
from dynexit.methods import make_controller
from dynexit.model.fingerprint import fingerprint
from dynexit.model.loading import parameters
from dynexit.model.threads import use_threads
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.rates import tokens_per_second
from dynexit.tasks import make_task
from dynexit.tasks.base import Example

WARM_UP_TOKENS = 16


def load_as_asked(name: str, options: Options) -> LanguageModel:
    """A checkpoint by its name, as the options want it."""
    return load(
        name, dtype=options.dtype, device=options.device, check=False, runtime=options.runtime
    )


@dataclass
class Worker:
    """Holds the models that it has loaded, one target at a time.

    Attributes:
        loading: what a model's name stands for.
    """

    options: Options
    loading: Callable[[str, Options], LanguageModel] = field(default=load_as_asked, repr=False)
    _target: tuple[str, LanguageModel] | None = field(default=None, repr=False)
    _second: LanguageModel | None = field(default=None, repr=False)
    _controllers: dict[str, Controller] = field(default_factory=dict, repr=False)
    _peers: dict[str, Peer] = field(default_factory=dict, repr=False)
    _warm: set[str] = field(default_factory=set, repr=False)
    _answers: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict, repr=False)
    _checkpoint: str = ""

    def run(self, shard: Shard) -> Iterator[Record]:
        """One record for every (example, method) that is not done.

        The methods take turns on each example, each time beginning with another, so that neither
        the machine's drift nor a place in the row favours any of them.
        """
        lm = self._load(shard.model)
        for index, example in enumerate(shard.examples):
            methods = self.options.methods
            turn = index % len(methods)
            for method in (*methods[turn:], *methods[:turn]):
                if (example.id, method) not in shard.done:
                    yield self._record(lm, shard, example, method)

    def _record(self, lm: LanguageModel, shard: Shard, example: Example, method: str) -> Record:
        record = Record(
            shard.model,
            shard.task,
            example.id,
            method,
            reference=example.reference,
            shape=shape(lm, self._second),
            options=self.options.as_dict(),
            environment=environment(lm.model),
            prompt=example.content,
            checkpoint=self._checkpoint,
            category=example.category,
        )
        check_conditions(record, shard.conditions)
        try:
            self._fill(record, lm, self._prompt(lm, example, record))
            self._answers[record.method, example.turns] = record.text
        except (DynexitError, RuntimeError, MemoryError) as error:  # CUDA's are RuntimeErrors
            record.error = f"{type(error).__name__}: {error}"
        return record

    def _prompt(self, lm: LanguageModel, example: Example, record: Record) -> Prompt:
        """What the model reads: of a conversation also its own answers so far, by the same method.

        An answer that is in an older record only is written again.
        """
        if not example.turns or lm.tokenizer is None:
            return example.prompt
        texts = [example.turns[0]]
        for count, turn in enumerate(example.turns[1:], 1):
            before = record.method, example.turns[:count]
            if before not in self._answers:
                earlier = replace(example, turns=example.turns[:count])
                scratch = replace(record)
                self._fill(scratch, lm, self._prompt(lm, earlier, scratch))
                self._answers[before] = scratch.text
            texts += [self._answers[before], turn]
        return chat_tokens(lm.tokenizer, texts)

    def _fill(self, record: Record, lm: LanguageModel, prompt: Prompt) -> None:
        if is_peer(record.method):
            self._fill_from_peer(record, lm, prompt)
        else:
            self._fill_from_method(record, lm, prompt)
        if record.reference is not None:
            task = make_task(record.task, self.options.allow_code_execution)
            record.scores = task.score(record.text, record.reference)

    def _fill_from_peer(self, record: Record, lm: LanguageModel, prompt: Prompt) -> None:
        """Times and tokens; a peer tells nothing of its rounds."""
        if lm.tokenizer is None:
            raise DynexitError("peers need a checkpoint with a tokenizer, but this one has none.")
        (kind, variant), ids = find_peer(record.method), lm.prompt_tokens(prompt)
        if kind.name not in self._peers:
            self._peers[kind.name] = kind.make(lm)
        peer = self._peers[kind.name]
        if record.method not in self._warm:
            peer.generate(variant, ids, WARM_UP_TOKENS)
            self._warm.add(record.method)
        peak = PeakMemory(lm.model.devices)
        output = peer.generate(variant, ids, self.options.max_new_tokens)
        record.peak_memory, record.prompt_tokens = peak.read(), len(ids)
        record.token_ids, record.text = output.token_ids, lm.tokenizer.decode(output.token_ids)
        told = Statistics(lm.num_layers, [], output.prefill_seconds, output.decode_seconds)
        speed = tokens_per_second(output.decoded, output.decode_seconds) or 0.0
        record.stats = told.as_dict() | {"tokens": output.decoded, "tokens_per_second": speed}
        record.environment = {**record.environment, **peer.features}

    def _fill_from_method(self, record: Record, lm: LanguageModel, prompt: Prompt) -> None:
        controller = self._controller(lm, record.method)
        peak = PeakMemory(lm.model.devices)
        output = self._generate(lm, prompt, controller, self.options.max_new_tokens)
        record.peak_memory = peak.read()
        record.prompt_tokens = len(lm.prompt_tokens(prompt)) if lm.tokenizer else 0
        record.token_ids, record.text = output.token_ids, output.text
        record.finish_reason, record.stats = output.finish_reason, output.stats.as_dict()

    def _controller(self, lm: LanguageModel, method: str) -> Controller:
        """The method's controller, one for all prompts: some carry state from one to the next.

        Another one of its kind warms the machine up.
        """
        if method not in self._controllers:
            self._generate(lm, "The quick brown fox", make_controller(method), WARM_UP_TOKENS)
            self._controllers[method] = make_controller(method)
        return self._controllers[method]

    def _generate(
        self, lm: LanguageModel, prompt: Prompt, method: Controller, new_tokens: int
    ) -> Generation:
        options = self.options
        rule = Sampling(options.temperature, options.top_k, options.top_p, seed=options.seed)
        return lm.generate(
            prompt, method, max_new_tokens=new_tokens, sampling=rule, draft_model=self._second
        )

    def _load(self, name: str) -> LanguageModel:
        if self._target is None or self._target[0] != name:
            self._target = None  # so that two never lie in memory together
            self._controllers.clear()
            self._peers.clear()
            self._warm.clear()
            self._answers.clear()
            use_threads(self.options.threads)
            self._target = (name, self.loading(name, self.options))
        if self.options.draft_model is not None and self._second is None:
            self._second = self.loading(self.options.draft_model, self.options)
        folders = [one.folder for one in (self._target[1], self._second) if one and one.folder]
        self._checkpoint = fingerprint(folders)
        return self._target[1]


def chat_tokens(tokenizer: CheckpointTokenizer, texts: Sequence[str]) -> list[int]:
    """A conversation that begins and ends with the user; text where there is no chat template."""
    if not tokenizer.loaded.chat_template:
        return tokenizer.encode("\n\n".join(texts) + "\n\n")
    roles = ("user", "assistant")
    return tokenizer.encode_chat(
        [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]
    )


def check_conditions(record: Record, before: Mapping[str, Any]) -> None:
    """Raises DynexitError where a model's older records were made with something else."""
    now = conditions(record)
    for name, value in before.items():
        if now[name] != value:
            raise DynexitError(
                f"the records of {record.model} were made with {name} {value!r}, but now it is "
                f"{now[name]!r}: continue under the same conditions, or give another --out."
            )


def shape(lm: LanguageModel, second: LanguageModel | None) -> dict[str, int]:
    """What FLOPs are counted from: parameters of a layer and of the head, and how many layers."""
    counted = _shape(lm)
    if second is not None:
        counted |= {f"draft_{name}": value for name, value in _shape(second).items()}
    return counted


def _shape(lm: LanguageModel) -> dict[str, int]:
    config, (whole, layer) = lm.model.config, parameters(lm.model.config)
    return {
        "num_layers": lm.num_layers,
        "layer_parameters": layer,
        "head_parameters": lm.model.vocabulary_size * config.hidden_size,
        "parameters": whole,
    }
