"""The tokens of the head that exits choose among: a model's most frequent ones, where known.

A token that is left out is never drafted; each token that is read costs a row of the head. The
target's choice is unaffected. Compare VocabTrim (arXiv 2506.22694). Where drafts also read the
tokens of their text (`text_tokens.py`), fewer suffice.
"""

from collections.abc import Container, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

COVERED = 0.99  # share of a model's own text that its draft tokens should hold
BESIDE_TEXT = 2_048  # as many are enough beside the tokens of a text: training texts (docs/log.md)


class DraftTokens:
    """Tokens in the order in which drafts read them; without any, the order of their ids.

    Args:
        usual: how many are read by default.
        beside: how many where tokens of the text are read, too; None is as many.
    """

    def __init__(
        self, tokens: Sequence[int] = (), usual: int | None = None, beside: int | None = None
    ) -> None:
        self.tokens = torch.tensor(tokens, dtype=torch.long)
        self._usual, self._beside = usual, beside

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
        usual = min(next(enough, most), most)
        return cls(frequent[:most], usual, min(usual, BESIDE_TEXT))

    def on(self, device: torch.device) -> "DraftTokens":
        """The same, for logits on a device: no pass has to bring the tokens there."""
        moved = DraftTokens((), self._usual, self._beside)
        moved.tokens = self.tokens.to(device)
        return moved

    def usual(self, vocabulary_size: int, with_text: bool = False) -> int:
        """How many tokens drafts read by default, beside those of the text or without."""
        if self._usual is None:
            count = trimmed_vocabulary(vocabulary_size)
            return min(count, BESIDE_TEXT) if with_text else count
        return self._beside if with_text and self._beside else self._usual

    def named(self, limit: int | None) -> Tensor | None:
        """The first `limit` tokens; None where these are the ids 0, 1 ... or all of them."""
        if limit is None or limit > len(self.tokens):
            return None
        return self.tokens[:limit]

    def holding(self, limit: int) -> Container[int]:
        """The first `limit` tokens, to look one up."""
        named = self.named(limit)
        return range(limit) if named is None else frozenset(named.tolist())

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
