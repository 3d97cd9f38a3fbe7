"""How drafters that read logits grow a draft."""

from collections.abc import Iterator

from torch import Tensor

from dynexit.decoding.drafters import Text
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft
from dynexit.decoding.sampling import NO_TOKEN
from dynexit.model.drafting_rule import Growth
from dynexit.model.interface import Span
from dynexit.model.parts import open_of, span_of, tokens_of
from dynexit.model.readings import Readings


class Proposal:
    """A draft that grows level by level.

    It ends as planned, after a token that ends the text, and before a row of NaN logits. Whether
    NaN is an error is left to the target's logits.

    Args:
        finish: whether the last level also runs through the layers.

    Attributes:
        draft: the draft so far.
        best_only: whether only each row's top token is needed.
    """

    def __init__(self, text: Text, plan: Plan, finish: bool = True) -> None:
        self._rule = plan.rule(eos=text.limits.eos, finish=finish)
        self._sampler, self._start = text.sampler, text.cache.length
        self._confident, self._growth = plan.reads_confidence, Growth(self._rule)
        self.best_only = text.sampler.best_only and self._rule.ranks == 1
        self.draft = Draft(layer=plan.exit_layer, slot=self._rule.slot(self._start))

    def levels(self) -> Iterator[bool]:
        """See `drafting_rule.Growth`."""
        return self._growth.levels()

    def span(self, text: Text) -> Span:
        """The rows of the last level, over the sequence's cache."""
        return span_of(self._growth, self._rule, text.cache, self._start)

    def tokens(self, newest: int) -> list[int]:
        """Tokens of the last level's rows; row 0 has `newest`."""
        return tokens_of(self._growth, newest)

    def open(self, hidden: Tensor) -> Tensor:
        """From the states [n, D] of the last level's rows, those of rows that may have children."""
        return open_of(self._growth, hidden)

    def add(self, logits: Tensor | Readings) -> None:
        """Choose the next level from the logits [n, V] of the open rows; it may be empty."""
        if isinstance(logits, Tensor) and self._rule.ranks > 1:
            grown = self._growth.follow(self._candidates(logits))
        else:
            grown = self._add_one(logits)
        if grown:
            self.draft.take(self._growth.nodes)
            if not self._confident:
                self.draft.confidences = []

    def _add_one(self, logits: Tensor | Readings) -> bool:
        """Add a chain's next token."""
        draft = self.draft
        row = len(draft.tokens)
        choice = self._sampler.choose(logits, draft.tokens, row, self._confident)
        sure = choice.confidences[0] if self._confident else 1.0
        token = choice.tokens[0]
        if not self._growth.follow([[(token, sure)] if token != NO_TOKEN else []]):
            return False
        if choice.logits is not None:
            draft.logits.append(choice.logits)
        return True

    def _candidates(self, logits: Tensor) -> list[list[tuple[int, float]]]:
        """Candidates for the next level."""
        found = []
        for index, row in enumerate(self._growth.open):
            path = self.draft.path_to(row)
            given = logits[index : index + 1], self._rule.ranks, path, len(path)
            found.append(list(zip(*self._sampler.candidates(*given), strict=True)))
        return found
