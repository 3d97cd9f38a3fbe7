"""Any decoder-only model of transformers, run in parts by its own code.

A copy of the model's outer shell shares all of its modules, but for a gate in the place of each
decoder layer. A pass goes through the family's own `forward` (scaled embeddings, positions, masks,
norm, head, capped logits, all as it does them), and the gates decide which layers run.
"""

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from dynexit.errors import DynexitError
from dynexit.integrations.transformers.cache import AdapterCache
from dynexit.integrations.transformers.plain import replaced_methods
from dynexit.integrations.transformers.versions import cache_keyword
from dynexit.model.config import ModelConfig
from dynexit.model.interface import Span
from dynexit.model.parts import ByParts
from dynexit.model.skips import Skips


@dataclass
class Segment:
    """Which layers [start, stop) the gates run, what enters the first of them, what leaves each."""

    start: int = 0
    stop: int = 0
    entering: Tensor | None = None  # [1, n, D]; None is what the family's `forward` brings
    states: list[Tensor] = field(default_factory=list)

    def begin(self, start: int, stop: int, entering: Tensor | None) -> None:
        """A new pass."""
        self.start, self.stop, self.entering, self.states = start, stop, entering, []


class Gate(nn.Module):
    """Stands where a decoder layer stood: runs it inside the segment, lets states pass outside."""

    def __init__(self, layer: nn.Module, index: int, segment: Segment) -> None:
        super().__init__()
        self.layer, self._index, self._segment = layer, index, segment

    def __getattr__(self, name: str) -> Any:
        """Families read settings off their layers, such as the kind of attention."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[1, n, D] -> [1, n, D]."""
        segment = self._segment
        if segment.entering is not None and self._index == segment.start:
            hidden = segment.entering
        if not segment.start <= self._index < segment.stop:
            return hidden
        left = self.layer(hidden, *args, **kwargs)
        if not isinstance(left, Tensor):
            raise DynexitError("its layers return more than hidden states")
        segment.states.append(left)
        return left


class Adapter(ByParts):
    """See `interface.Model`. Spans of a pass run one after the other, and so do threads."""

    runtime_name = "transformers' layers"
    rows_independent = False
    most_children = 1
    runs_trees = False

    def __init__(self, model: Any) -> None:
        text = model.config.get_text_config()
        outer, inner, layers = _find_layers(model, int(text.num_hidden_layers))
        self._segment, self._turn = Segment(), Lock()
        for part in (model, getattr(model, outer)):
            if replaced := replaced_methods(part):
                raise DynexitError(
                    f"its {next(iter(replaced))} is replaced, as by layers on several devices or "
                    "learned prompts"
                )
        gates = nn.ModuleList(Gate(layer, i, self._segment) for i, layer in enumerate(layers))
        self._base = _shell(getattr(model, outer), inner, gates)
        self._whole = _shell(model, outer, self._base)
        self._cache_keyword = cache_keyword(self._base.forward)
        self.config = _shape(text, model)
        self.vocabulary_size = self.config.vocab_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._table.weight.device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """All that hold weights: one."""
        return (self.device,)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self._table.weight.dtype

    @property
    def _table(self) -> Any:
        return self._base.get_input_embeddings()

    @property
    def skipping(self) -> None:
        """See `interface.Model`: layers are the family's own."""

    def new_cache(self) -> AdapterCache:
        """An empty cache for one sequence."""
        return AdapterCache(self.config.num_layers, self.config.max_positions)

    def rows(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """The spans themselves: masks and angles are the family's."""
        return tuple(spans)

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """The embedding's rows; what else the family does with them happens before layer 1."""
        return self._table(torch.as_tensor(tokens, device=self.device))

    def run_layers(
        self,
        hidden: Tensor,
        rows: tuple[Span, ...],
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
        skips: Skips | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        assert skips is None, "it is not `skipping`"
        if start >= stop:
            return hidden
        parts = hidden.split([span.length for span in rows])
        runs = [self._run(part, span, start, stop) for part, span in zip(parts, rows, strict=True)]
        left = [torch.cat(layer) for layer in zip(*runs, strict=True)]  # [N, D] for every layer
        if states is not None:
            states += left if keep is None else [state[-keep:] for state in left]
        return left[-1]

    def _run(self, hidden: Tensor, span: Span, start: int, stop: int) -> list[Tensor]:
        """What leaves each layer [start, stop), [n, D] each."""
        cache: Any = span.cache
        with self._turn:
            self._segment.begin(start, stop, hidden[None] if start else None)
            past = {self._cache_keyword: cache.at(span.start)}
            self._base(inputs_embeds=hidden[None], use_cache=True, **past)
            return [state[0] for state in self._segment.states]

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """See `interface.Model`. The whole head is read: what comes after it is the family's."""
        last = self.config.num_layers
        with self._turn:
            self._segment.begin(last - 1, last - 1, hidden[None])
            found = self._whole(inputs_embeds=hidden[None], use_cache=False)
        logits: Tensor = found.logits[0, :, : self.vocabulary_size]
        if limit is not None and limit < self.vocabulary_size:
            logits = logits.clone()
            logits[:, limit:] = -torch.inf
        return logits

    def read(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """The logits themselves."""
        return self.unembed(hidden, limit)


def _find_layers(model: Any, count: int) -> tuple[str, str, nn.ModuleList]:
    """The model's list of decoder layers, and the names that lead to it."""
    for outer, base in model.named_children():
        for inner, module in base.named_children():
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return outer, inner, module
    raise DynexitError(f"it has no list of its {count} decoder layers")


def _shell(module: Any, name: str, replacement: nn.Module) -> Any:
    """A shallow copy of `module` with one child replaced; `module` stays as it is."""
    shell = copy.copy(module)
    shell._modules = {**module._modules, name: replacement}
    for bound in ("generate", "forward", "_compiled_call_impl"):  # to `module`: a repository's own
        vars(shell).pop(bound, None)  # generate, and compiled passes
    return shell


def _shape(text: Any, model: Any) -> ModelConfig:
    """What decoding reads of a configuration; sizes that a family does not name are 0."""

    def size(name: str, default: int = 0) -> int:
        value = getattr(text, name, None)
        return value if isinstance(value, int) else default

    heads = size("num_attention_heads")
    return ModelConfig(
        family=text.model_type,
        vocab_size=len(model.get_output_embeddings().weight),
        hidden_size=size("hidden_size"),
        intermediate_size=size("intermediate_size"),
        num_layers=size("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=size("num_key_value_heads", heads),
        head_dim=size("head_dim"),
        max_positions=size("max_position_embeddings", sys.maxsize),
    )
