"""Default implementations for every model, by its parts: draft and verify in one call. A runtime
with something faster overrides them.

Not responsible for sampling, nor for passes that several texts share: decoding asks for the parts
one by one where these matter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.crossing import Parcel
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.drafting import Drafted
from dynexit.model.drafting_rule import DraftingRule, Growth
from dynexit.model.interface import Cache, Configured, Model, Span
from dynexit.model.readings import Readings, numbers_of
from dynexit.model.text_tokens import MOST, TextTokens, texts_of

MOST_ROWS = 64  # of a tree beside row 0


class ByParts:
    """See `interface.Model`."""

    most_children = MOST_ROWS
    runs_trees = True
    reads_text = False
    vocabulary_size: int
    draft_tokens = DraftTokens()

    def draft_by(self, chosen: DraftTokens) -> None:
        """See `interface.Model`."""

    def new_text_tokens(self, limit: int) -> TextTokens:
        """See `interface.Model`."""
        usual = self.draft_tokens.holding(limit)
        return TextTokens(usual, min(MOST, self.vocabulary_size))

    def read_with(
        self: Model, hidden: Tensor, limit: int, own: Sequence[TextTokens], best_only: bool
    ) -> Tensor | Readings:
        """See `interface.Model`."""
        del best_only
        logits, whole = self.unembed(hidden, limit), self.unembed(hidden)
        for place, one in texts_of(own):
            logits[place, one.tokens] = whole[place, one.tokens]
        return logits

    @property
    def kept_layers(self: Model) -> int:
        """See `interface.Model`."""
        return self.config.num_layers

    @property
    def draft_copy(self) -> Model | None:
        """See `interface.Model`."""
        return None

    @property
    def skipping(self: Model) -> Model | None:
        """See `interface.Model`."""
        return self

    @property
    def rank_bytes(self: Configured) -> Sequence[int]:
        """See `interface.Configured`."""
        return [self.layer_bytes + self.head_bytes + self.embedding_bytes]

    def verify(
        self: Model, given: list[int] | Tensor, span: Span, start: int, stop: int
    ) -> Tensor | Readings:
        """See `interface.Model`."""
        hidden = given if isinstance(given, Tensor) else self.embed(given)
        return self.read(self.run_layers(hidden, self.rows([span]), start, stop))

    @torch.inference_mode()
    def draft(
        self: Model, cache: Cache, start: int, token: int, rule: DraftingRule, states: bool
    ) -> Drafted:
        """See `interface.Model`."""
        growth = Growth(rule)
        rows: list[Tensor] = []
        left: list[Tensor] = []
        for last in growth.levels():
            taken: list[Tensor] | None = [] if states else None
            hidden = self.embed(tokens_of(growth, token))
            placed = self.rows([span_of(growth, rule, cache, start)])
            hidden = self.run_layers(hidden, placed, 0, rule.whole, taken)
            rows.append(hidden)
            left += [torch.stack(taken, 1)] if taken else []
            if not last:
                if rule.skips is not None:
                    layers = rule.whole, rule.exit_layer
                    hidden = self.run_layers(hidden, placed, *layers, None, None, rule.skips)
                growth.follow(_following(self, open_of(growth, hidden), rule))
        return Drafted(torch.cat(rows), torch.cat(left) if left else None, lambda: growth.nodes)

    def candidates(
        self: Model, hidden: Tensor, count: int, limit: int | None
    ) -> list[list[tuple[int, float]]]:
        """See `interface.Model`."""
        return likeliest((self.read if count == 1 else self.unembed)(hidden, limit), count)

    def copy_for_drafts(self, layers: int, tokens: int) -> Model:
        """See `interface.Model`."""
        raise DynexitError("drafts in int8 need the native runtime: leave out int8=true.")


def likeliest(found: Tensor | Readings, count: int) -> list[list[tuple[int, float]]]:
    """Up to `count` of the likeliest tokens of each row with their probabilities, the likeliest
    first; readings tell one.
    """
    if count == 1:
        if isinstance(found, Tensor):
            found = Readings.of(Parcel(numbers_of(found)).open())
        said = zip(found.tokens.tolist(), found.confidence.tolist(), strict=True)
        return [[one] for one in said]
    assert isinstance(found, Tensor)
    logits = found.to(torch.promote_types(found.dtype, torch.float32))
    best, tokens = logits.topk(min(count, logits.shape[-1]))  # of what is no number, any
    likely = (best - logits.logsumexp(-1, keepdim=True)).exp().tolist()
    pairs = zip(tokens.tolist(), likely, strict=True)
    return [list(zip(*pair, strict=True)) for pair in pairs]


def _following(model: Model, hidden: Tensor, rule: DraftingRule) -> list[list[tuple[int, float]]]:
    """Candidates after each of the states [n, D] of a draft's rows."""
    if rule.text_tokens is None or rule.limit is None:
        return model.candidates(hidden, rule.ranks, rule.limit)
    own = [rule.text_tokens] * len(hidden)
    return likeliest(model.read_with(hidden, rule.limit, own, rule.ranks == 1), rule.ranks)


def tokens_of(growth: Growth, newest: int) -> list[int]:
    """Those of the rows of a draft's last level; of row 0, `newest`."""
    return [growth.nodes.tokens[row - 1] if row else newest for row in growth.fresh]


def span_of(growth: Growth, rule: DraftingRule, cache: Cache, start: int) -> Span:
    """The rows of a draft's last level; its row 0 stands at `start`."""
    fresh = growth.fresh
    if rule.ranks == 1:
        return Span(cache, start + fresh.start, 1, window=rule.window)
    tree = growth.nodes.parents, rule.slot(start), fresh.start
    return Span(cache, start, len(fresh), *tree, rule.window)


def open_of(growth: Growth, hidden: Tensor) -> Tensor:
    """Of the states [n, D] of the last level's rows, those of rows that may have children."""
    rows = [row - growth.fresh.start for row in growth.open]
    return hidden if len(rows) == len(hidden) else hidden[rows]
