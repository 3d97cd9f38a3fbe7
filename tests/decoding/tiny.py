"""Small models in fp64 whose drafts agree never, sometimes, always or exactly as scripted."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

import torch

from dynexit import Chunk, Controller, Facts, LanguageModel, Plan, Sampling
from dynexit import methods as methods_module
from dynexit.decoding.controllers import methods
from dynexit.decoding.costs import Costs
from dynexit.decoding.guide import Guide
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.loop import generate
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.successors import SuccessorTable
from dynexit.methods import make_controller
from dynexit.model.config import ModelConfig
from dynexit.model.interface import Span
from dynexit.model.native.transformer import NativeTransformer
from dynexit.model.parts import ByParts
from dynexit.model.transformer import Transformer

PROMPTS = [3, 1, 4, 1, 5, 9, 2, 6], [7], [1, 2, 3] * 6
LLAMA = ModelConfig(
    family="llama",
    vocab_size=29,
    hidden_size=16,
    intermediate_size=24,
    num_layers=5,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_positions=160,
)
FAMILIES = {
    "llama": LLAMA,
    "mistral": replace(LLAMA, family="mistral", num_kv_heads=1),
    "qwen2": replace(LLAMA, family="qwen2", num_kv_heads=4, qkv_bias=True),
    "qwen3": replace(LLAMA, family="qwen3", qk_norm=True),
}
# A pass costs much and its rows and layers little, so that whoever weighs costs drafts a lot.
CHEAP_DRAFTS = Costs((1, 2), (1.0, 1.01), (0.1, 0.1), (0.0, 0.0), 0.01, (0.0, 0.0), 1.0, 29)
NAMES = *methods(), *(f"{name}:analysis=full" for name in methods() if name.startswith("del"))
ALONE = [name for name in NAMES if make_controller(name).second_model is None]
LOSSLESS = [name for name in ALONE if make_controller(name).lossless]
DRAFTING = [name for name in LOSSLESS if name != "vanilla"]
WITH_EXITS = [name for name in DRAFTING if "early-exit" in make_controller(name).drafters]
# Some tokens after each token and some pairs, right now and then.
TABLE = SuccessorTable.of(
    {(t,): [((t * 7 + k) % 29, 0.5 / k) for k in (1, 2, 3)] for t in range(29)}
    | {(t, (t * 5) % 29): [((t + k) % 29, 0.8 / k) for k in (1, 2)] for t in range(29)}
)
# Those that draft with exits alone: where costs are given, they always do the same.
EXITING = [name for name in DRAFTING if make_controller(name).drafters == ("early-exit",)]
ADAPTIVE = [name for name in EXITING if make_controller(name).reads_shadow]


class Fixed(Controller):
    """Plans the same round forever."""

    def __init__(self, exit_layer: int, speculation_length: int, threshold=None) -> None:
        self.planned = Plan(exit_layer, speculation_length, threshold)

    def plan(self) -> Plan:
        return self.planned


def random_model(
    config: ModelConfig = LLAMA, seed: int = 0, depth_gain: float = 1.0, dtype=torch.float64
) -> Transformer:
    """Random weights. What layer l adds is scaled by `depth_gain` to the power l.

    A gain of 1 leaves exits that rarely agree with the last layer; a small one, exits that mostly
    do, the deeper the more often.
    """
    model = Transformer(config).to(dtype).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.copy_(1.0 + 0.3 * noise if parameter.ndim == 1 else 0.4 * noise)
    model.embedding.weight.mul_(3.0)  # so that the text varies
    for index, layer in enumerate(model.layers):
        silence(layer, depth_gain**index)
    return model


def random_diffusion(seed: int = 0, dtype=torch.float64, **changes) -> Transformer:
    """A masked-diffusion model of the same tokens, and one more for the mask."""
    config = replace(LLAMA, **{"num_layers": 2, "vocab_size": 30, "mask_token": 29, **changes})
    model = random_model(config, seed, dtype=dtype)
    model.vocabulary_size = config.vocab_size - 1
    return model


def silence(layer, gain: float = 0.0) -> None:
    """Scale what a layer adds to the residual stream: nothing at all with a gain of 0."""
    for linear in (layer.out, layer.down):
        linear.weight.mul_(gain)
        if linear.bias is not None:
            linear.bias.mul_(gain)


def always_agreeing(exit_layer: int, num_layers: int = 6, seed: int = 0) -> Transformer:
    """Layers past `exit_layer` change nothing: every exit from there on says what the last does."""
    model = random_model(replace(LLAMA, num_layers=num_layers), seed)
    for layer in model.layers[exit_layer:]:
        silence(layer)
    return model


def never_agreeing(num_layers: int = 5, seed: int = 0) -> Transformer:
    """Exits choose even token ids, the last layer odd ones.

    Dimension 0 of the residual stream is large and positive until the last layer turns it
    negative; the head reads it as a vote for even, or else odd ids.
    """
    model = random_model(replace(LLAMA, num_layers=num_layers, mlp_bias=True), seed)
    model.embedding.weight[:, 0] = 6.0
    for layer in model.layers:
        layer.out.weight[0] = layer.down.weight[0] = layer.down.bias[0] = 0.0
    model.layers[-1].down.bias[0] = -12.0
    model.final_norm.weight.fill_(1.0)
    model.head.weight[0::2, 0] = 32.0
    model.head.weight[1::2, 0] = -32.0
    return model


def scripted(
    says: Sequence[int], drafts: Sequence[int], correcting_layer: int = 2, num_layers: int = 5
) -> Transformer:
    """After token t the model says `says[t]`; exits before `correcting_layer` say `drafts[t]`.

    The residual stream holds the token in its first V dimensions and votes for the next one in the
    other V, which are all that the head reads. The correcting layer's MLP outvotes the embedding.
    """
    size = len(says)
    config = ModelConfig("llama", size, 2 * size, size, num_layers, 1, 1, 2, 512)
    model = random_model(config, depth_gain=0.0, dtype=torch.float32)
    one_hot = torch.eye(size)
    silence(model.layers[0])
    model.embedding.weight.copy_(torch.cat((one_hot, one_hot[list(drafts)]), 1))
    model.final_norm.weight.fill_(1.0)
    model.head.weight.copy_(torch.cat((torch.zeros_like(one_hot), one_hot), 1))
    layer = model.layers[correcting_layer - 1]
    layer.mlp_norm.weight.fill_(1.0)
    gate = torch.cat((torch.ones_like(one_hot), torch.zeros_like(one_hot)), 1)
    layer.gate_up.weight.copy_(torch.cat((gate, torch.cat((one_hot, 0 * one_hot), 1))))
    layer.down.weight[size:] = one_hot[list(says)].T
    return model


def settings_of(method: str, exits: Sequence[int], lengths: Sequence[int]) -> list[dict]:
    """Every combination of these exit layers and lengths that the method takes, and its own."""
    fields = methods_module.settings_of(methods()[methods_module.split_name(method)])
    grid: list[dict] = [{}]
    if "exit_layer" in fields:
        min_layer = getattr(make_controller(method), "min_layer", 1)
        grid = [{"exit_layer": e} for e in exits if e >= min_layer] + [{}]
    if "speculation_length" in fields:
        grid = [{**one, "speculation_length": d} for one in grid if one for d in lengths]
    if "cap" in fields:
        grid += [{"cap": "planned"}, {"d_max": 3, "prompt_positions": 0}]
    return grid


class Priced(ByParts):
    """A model whose passes take what a table says, by a clock of its own: no machine is faster.

    What the native runtime does in one call takes no time.
    """

    def __init__(self, model: Transformer, costs: Costs) -> None:
        self._model, self._costs, self.seconds = model, costs, 0.0
        self._depth = model.config.num_layers

    def __getattr__(self, name):
        return getattr(self._model, name)

    @property
    def draft_copy(self):
        return self._model.draft_copy

    @property
    def most_children(self):
        return self._model.most_children

    @property
    def reads_text(self):
        return self._model.reads_text

    def new_text_tokens(self, limit):
        return self._model.new_text_tokens(limit)

    def read_with(self, *given):
        return self._model.read_with(*given)

    def draft(self, *given):
        whole = isinstance(self._model, NativeTransformer)
        return self._model.draft(*given) if whole else super().draft(*given)

    def verify(self, *given):
        whole = isinstance(self._model, NativeTransformer)
        return self._model.verify(*given) if whole else super().verify(*given)

    def clock(self) -> float:
        return self.seconds

    def run_layers(self, hidden, rows, start, stop, *rest):
        costs, drafted = self._costs, start == 0 and stop < self._depth and len(hidden) == 1
        around = costs.round if stop == self._depth else 0.0
        layers = costs.draft(stop) if drafted else costs.layers(stop - start, len(hidden))
        self.seconds += around + layers
        return self._model.run_layers(hidden, rows, start, stop, *rest)

    def unembed(self, hidden, limit=None):
        self.seconds += self._costs.unembed(len(hidden), limit)
        return self._model.unembed(hidden, limit)

    def read(self, hidden, limit=None):
        self.seconds += self._costs.unembed(len(hidden), limit)
        return self._model.read(hidden, limit)


def decode(
    model: Transformer,
    prompt: Sequence[int],
    method: str | Controller = "vanilla",
    max_new_tokens: int = 12,
    eos: frozenset[int] = frozenset(),
    sampling: Sampling | None = None,
    second: Transformer | None = None,
    logprobs: int | None = None,
    costs: Costs = CHEAP_DRAFTS,
    guide: Guide | None = None,
    **settings,
) -> tuple[Decoding, list[Chunk]]:
    """A finished sequence, whose inside tests may read, and its chunks.

    Methods that go by costs have some, and rounds take what these say.
    """
    limits = Limits(max_new_tokens, model.config.max_positions, eos)
    controller, clock = make_controller(method, **settings), perf_counter
    given = costs if controller.reads_costs else None
    table = TABLE if model.vocabulary_size >= LLAMA.vocab_size else None
    facts = Facts(
        model.config.num_layers, given, None, controller.draft_vocabulary, table, None, None
    )
    if given is not None:
        model = Priced(model, costs)
        clock = model.clock
    rule = sampling or Sampling()
    job = Job(
        list(prompt), limits, rule, second=second, logprobs=logprobs, clock=clock, guide=guide
    )
    sequence = Decoding(model, controller, facts, job)
    return sequence, list(generate(sequence))


def new_tokens(model: Transformer, prompt: Sequence[int], method="vanilla", **options) -> list[int]:
    """Only the new tokens of `LanguageModel.generate`."""
    return LanguageModel(model).generate(prompt, method, **options).token_ids


@torch.inference_mode()
def layer_logits(model: Transformer, tokens: Sequence[int]) -> torch.Tensor:
    """What every layer says after each of `tokens`, computed afresh in one pass: [L, T, V]."""
    states: list[torch.Tensor] = []
    rows = model.rows([Span(model.new_cache(), 0, len(tokens))])
    hidden = model.embed(torch.tensor(list(tokens)))
    model.run_layers(hidden, rows, 0, model.config.num_layers, states)
    return torch.stack([model.unembed(state) for state in states])


def by_recomputing(
    model: Transformer,
    prompt: Sequence[int],
    count: int,
    choose: Callable | None = None,
    layer: int = 0,
) -> list[int]:
    """Greedy decoding without a cache, a loop of ours or a sampler: the reference of references."""
    tokens = list(prompt)
    for _ in range(count):
        logits = layer_logits(model, tokens)[layer - 1, -1]
        tokens.append(choose(logits, tokens) if choose else int(logits.argmax()))
    return tokens[len(prompt) :]


def thrice(piece: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Records a piece of `model/graphs` as CUDA does: it runs some times before it counts."""
    for _ in range(3):
        piece()
    return piece
