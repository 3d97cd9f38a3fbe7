"""The forward pass: embed, decoder layers [start, stop), unembed at any layer.

One path serves prefill, drafting, verification and training; they differ in the rows they pass.
B sequences, N rows of all sequences together, D hidden size, H heads, V vocabulary, L layers.
"""

from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynexit.model.cache import KVCache
from dynexit.model.config import ModelConfig
from dynexit.model.crossing import Parcel, sent
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.interface import Span
from dynexit.model.readings import Readings, numbers_of
from dynexit.model.rope import RotaryTable
from dynexit.model.rows import Rows, SeeingAll
from dynexit.model.skips import ATTENTION, MLP, Skips
from dynexit.model.text_tokens import TextTokens, texts_of
from dynexit.model.weighing import Weighed


class Angles(Protocol):
    """Cosines and signed sines of rows' positions, each [N, 1, head_dim]."""

    cos: Tensor
    sin: Tensor


class Attending(Angles, Protocol):
    """What a layer needs to know about its rows: their angles, and how they attend."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[N, heads, head_dim] each -> [N, num_heads * head_dim]."""


class Placed(Attending, Protocol):
    """Rows of a pass whose layers may lie on several devices."""

    def on(self, device: torch.device) -> Attending:
        """What a layer on `device` needs to know."""


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned gain, over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """Same shape and dtype as `hidden`; computed in fp32 at least.

        On a CPU five small operations instead of the twelve that `F.rms_norm` makes there: at one
        row a layer's time is mostly the number of operations. On CUDA that is one.
        """
        if hidden.is_cuda:
            return F.rms_norm(hidden, hidden.shape[-1:], self.weight, self.eps)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=exact)
        eps = _scalar(self.eps, exact, hidden.device)
        scale = torch.addcmul(eps, norm, norm, value=1 / hidden.shape[-1]).rsqrt()
        return (hidden * scale).to(hidden.dtype) * self.weight


@cache
def _scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # so that training may use it, too
        return torch.tensor(value, dtype=dtype, device=device)


class DecoderLayer(nn.Module):
    """Pre-norm attention and SiLU-gated MLP, with QKV and gate/up as one matrix each."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.index, self.config = index, config
        size, attended = config.hidden_size, config.num_heads * config.head_dim
        projected = (config.rotated_heads + config.num_kv_heads) * config.head_dim
        self.attention_norm = RMSNorm(size, config.norm_eps)
        self.qkv = nn.Linear(size, projected, bias=config.qkv_bias)
        self.query_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.out = nn.Linear(attended, size, bias=config.out_bias)
        self.mlp_norm = RMSNorm(size, config.norm_eps)
        self.gate_up = nn.Linear(size, 2 * config.intermediate_size, bias=config.mlp_bias)
        self.down = nn.Linear(config.intermediate_size, size, bias=config.mlp_bias)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.out.weight.device

    def forward(self, hidden: Tensor, rows: Attending, skipped: int = 0) -> Tensor:
        """[N, D] -> [N, D]; never writes into `hidden`. `skipped` is a byte of `Skips`."""
        if not skipped & ATTENTION:
            attended = rows.attend(self.index, *self.enter(hidden, rows))
            hidden = hidden + self.out(attended)
        return hidden if skipped & MLP else self.leave(hidden)

    def enter(self, hidden: Tensor, rows: Angles) -> tuple[Tensor, Tensor, Tensor]:
        """What comes before attention: [N, D] -> query, key, value, each [N, heads, head_dim]."""
        config = self.config
        projected = self.qkv(self.attention_norm(hidden))
        heads = projected.view(len(hidden), -1, config.head_dim)  # [N, H + 2 KVH, head_dim]
        turned, value = heads.split((config.rotated_heads, config.num_kv_heads), dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = turned.split((config.num_heads, config.num_kv_heads), dim=1)
            turned = torch.cat((self.query_norm(query), self.key_norm(key)), dim=1)
        rolled = turned.roll(config.head_dim // 2, dims=-1)
        turned = torch.addcmul(turned * rows.cos, rolled, rows.sin)
        query, key = turned.split((config.num_heads, config.num_kv_heads), dim=1)
        return query, key, value

    def leave(self, hidden: Tensor) -> Tensor:
        """What comes after it, the MLP: [N, D] -> [N, D]."""
        gate, up = self.gate_up(self.mlp_norm(hidden)).chunk(2, dim=-1)
        return hidden + self.down(F.silu(gate) * up)


class Transformer(Weighed, nn.Module):
    """A decoder-only model whose layers run in parts, each on the device of its weights."""

    runtime_name = "eager"
    reads_text = True
    rows_independent = False  # a product of several rows may add in another order than that of one

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.num_layers))
        self.final_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie()
        self.rotary = RotaryTable(config.rope, config.head_dim)
        self.vocabulary_size = config.vocab_size  # fewer where the vocabulary is padded
        self._draft_head = torch.empty(0)  # rows of the head that drafts read

    @property
    def device(self) -> torch.device:
        """Where embedding and head are, and so hidden states and logits."""
        return self.embedding.weight.device

    @property
    def devices(self) -> list[torch.device]:
        """All that hold weights; the first is `device`."""
        layers = (self.layer(index).device for index in range(self.config.num_layers))
        return list(dict.fromkeys((self.device, *layers)))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights, hidden states and cache."""
        return self.embedding.weight.dtype

    def layer(self, index: int) -> DecoderLayer:
        """Decoder layer `index`, counted from 0."""
        return cast(DecoderLayer, self.layers[index])

    def tie(self) -> None:
        """Make the head the embedding, where the family does."""
        if self.config.tie_embeddings:
            self.head.weight = self.embedding.weight

    def new_cache(self) -> KVCache:
        """An empty cache for one sequence."""
        layers = range(self.config.num_layers)
        return KVCache(self.config, self.dtype, [self.layer(index).device for index in layers])

    def rows(self, spans: Sequence[Span]) -> Rows:
        """The rows of a forward pass over `spans`, in the order given."""
        kind = Rows if self.config.mask_token is None else SeeingAll
        return kind(spans, self.rotary, self.embedding.weight)

    def embed(self, tokens: Sequence[int] | Tensor) -> Tensor:
        """See `interface.Model`."""
        if not isinstance(tokens, Tensor):
            tokens = sent(tokens, self.device)
        return F.embedding(tokens, self.embedding.weight)

    def run_layers(
        self,
        hidden: Tensor,
        rows: Placed,
        start: int,
        stop: int,
        states: list[Tensor] | None = None,
        keep: int | None = None,
        skips: Skips | None = None,
    ) -> Tensor:
        """See `interface.Model`."""
        for index in range(start, stop):
            layer, skipped = self.layer(index), skips[index] if skips else 0
            hidden = layer(hidden.to(layer.device), rows.on(layer.device), skipped)
            if states is not None:
                kept = hidden if keep is None else hidden[-keep:].clone()
                states.append(kept.to(self.device))
        return hidden.to(self.device)

    def draft_by(self, chosen: DraftTokens) -> None:
        """See `interface.Model`."""
        self.draft_tokens = chosen.on(self.device)
        self._draft_head = self.head.weight.detach()[self.draft_tokens.tokens]

    def unembed(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """See `interface.Model`."""
        return self.draft_tokens.spread(self._logits(hidden, limit), limit, self.vocabulary_size)

    def read_with(
        self, hidden: Tensor, limit: int, own: Sequence[TextTokens], best_only: bool
    ) -> Tensor:
        """See `interface.Model`. The logits themselves."""
        del best_only
        logits, normed = self.unembed(hidden, limit), self.final_norm(hidden)
        for place, one in texts_of(own):
            tokens = sent(one.tokens, self.device)
            logits[place, tokens] = F.linear(normed[place], self.head.weight[tokens])
        return logits

    def measure(self, hidden: Tensor, limit: int | None = None) -> Tensor:
        """What `read` brings to the host, [3, N] on the device: see `numbers_of`."""
        numbers, named = numbers_of(self._logits(hidden, limit)), self.draft_tokens.named(limit)
        if named is not None:
            numbers[0] = named[numbers[0].long()]
        return numbers

    def read(self, hidden: Tensor, limit: int | None = None) -> Tensor | Readings:
        """On a CPU the logits themselves: they are written in any case, and within reach."""
        if hidden.device.type == "cpu":
            return self.unembed(hidden, limit)
        return Readings.of(Parcel(self.measure(hidden, limit)).open())

    def limited(self, limit: int | None) -> int:
        """How many tokens of the head are read."""
        return self.vocabulary_size if limit is None else min(limit, self.vocabulary_size)

    def _logits(self, hidden: Tensor, limit: int | None) -> Tensor:
        named = self.draft_tokens.named(limit) is not None
        rows = self._draft_head if named else self.head.weight
        return F.linear(self.final_norm(hidden), rows[: self.limited(limit)])
