"""The lossless check: a method's greedy text against plain decoding's, token for token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynexit.language_model import LanguageModel
from dynexit.model.interface import Model, Span

WIDTHS = (1, 2, 3, 4, 6, 8)  # rows computed at once, as drafting and verification do
MARGIN = 4.0  # a difference may be this many times what regrouping rows was seen to change


@dataclass(frozen=True)
class Difference:
    """Where two greedy texts part.

    Attributes:
        position: of the first differing new token; `plain` and `other` are what stands there (None
            where a text has ended).
        gap: between the target's logits of these two tokens.
        rounding: most that computing the same position together with other rows changes this gap,
            and at least one unit in the last place of these logits.
    """

    position: int
    plain: int | None
    other: int | None
    gap: float
    rounding: float

    @property
    def near_tie(self) -> bool:
        """Whether rounding alone can choose either token."""
        return self.gap <= MARGIN * self.rounding


def first_difference(
    lm: LanguageModel, prompt: Sequence[int], plain: Sequence[int], other: Sequence[int]
) -> Difference | None:
    """None where the texts (new tokens after `prompt`) are equal."""
    if list(plain) == list(other):
        return None
    pairs = zip(plain, other, strict=False)
    shorter = min(len(plain), len(other))
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    mine, theirs = (text[at] if at < len(text) else None for text in (plain, other))
    ended = min(lm.eos, default=None)  # a text that has ended chose an end
    first, second = (ended if token is None else token for token in (mine, theirs))
    if first is None or second is None:
        return Difference(at, mine, theirs, gap=float("inf"), rounding=0.0)
    gap, rounding = _gap(lm.model, [*prompt, *plain[:at]], [first, second])
    return Difference(at, mine, theirs, gap, rounding)


@torch.inference_mode()
def _gap(model: Model, context: list[int], tokens: list[int]) -> tuple[float, float]:
    """Gap of two tokens' logits after `context`, and how far rounding moves it."""
    widths = [width for width in WIDTHS if width < len(context)] or [len(context)]
    logits = torch.stack([_last_logits(model, context, width) for width in widths])[:, tokens]
    gaps = (logits[:, 0].double() - logits[:, 1].double()).tolist()
    unit = torch.finfo(logits.dtype).eps * float(logits.abs().max())
    return min(map(abs, gaps)), max(max(gaps) - min(gaps), unit)


def _last_logits(model: Model, context: list[int], width: int) -> Tensor:
    """Logits [V] after `context`, whose last `width` positions are computed together."""
    cache, hidden = model.new_cache(), None
    tokens, split = torch.tensor(context, device=model.device), len(context) - width
    for start, stop in ((0, split), (split, len(context))):
        if stop > start:
            rows = model.rows([Span(cache, start, stop - start)])
            embedded = model.embed(tokens[start:stop])
            hidden = model.run_layers(embedded, rows, 0, model.config.num_layers)
    assert hidden is not None
    return model.unembed(hidden[-1:])[0]
