"""The tokens of the head that exits choose among: a model's most frequent ones, where known.

A token that is left out is never drafted; each token that is read costs a row of the head. The
target's choice is unaffected. Compare VocabTrim (arXiv 2506.22694).
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

COVERED = 0.99  # share of a model's own text that its draft tokens should hold


class DraftTokens:
    """Tokens in the order in which drafts read them; without any, the order of their ids.

    Args:
        usual: how many are read by default.
    """

    def __init__(self, tokens: Sequence[int] = (), usual: int | None = None) -> None:
        self.tokens, self._usual = torch.tensor(tokens, dtype=torch.long), usual

    @classmethod
    def of(
        cls,
        frequent: Sequence[int],
        covered: Mapping[int, float],
        vocabulary_size: int,
        chosen: int | None = None,
    ) -> "DraftTokens":
        """What a model's own text says.

        Args:
            frequent: tokens, the most frequent first.
            covered: shares of such text that the first so many hold.
            chosen: how many to read, whatever they hold.
        """
        if chosen is not None:
            return cls(frequent[:chosen], chosen)
        most = min(trimmed_vocabulary(vocabulary_size), len(frequent))
        enough = (count for count, share in sorted(covered.items()) if share >= COVERED)
        return cls(frequent[:most], min(next(enough, most), most))

    def on(self, device: torch.device) -> "DraftTokens":
        """The same, for logits on a device: no pass has to bring the tokens there."""
        moved = DraftTokens((), self._usual)
        moved.tokens = self.tokens.to(device)
        return moved

    def usual(self, vocabulary_size: int) -> int:
        """How many tokens drafts read by default."""
        return trimmed_vocabulary(vocabulary_size) if self._usual is None else self._usual

    def named(self, limit: int | None) -> Tensor | None:
        """The first `limit` tokens; None where these are the ids 0, 1 ... or all of them."""
        if limit is None or limit > len(self.tokens):
            return None
        return self.tokens[:limit]

    def spread(self, logits: Tensor, limit: int | None, vocabulary_size: int) -> Tensor:
        """Logits [N, n] of the first `limit` tokens, on the device of these -> [N, V], -inf for the
        others.
        """
        named = self.named(limit)
        if named is None:
            return F.pad(logits, (0, vocabulary_size - logits.shape[-1]), value=-torch.inf)
        every = logits.new_full((len(logits), vocabulary_size), -torch.inf)
        return every.index_copy_(1, named, logits)


def trimmed_vocabulary(vocabulary: int) -> int:
    """Tokens that drafts read where nothing is known of the model's text: the most frequent ones
    come first in a vocabulary of byte pairs, and an eighth of them is most of a text.
    """
    return min(vocabulary, max(2_048, vocabulary // 8))
