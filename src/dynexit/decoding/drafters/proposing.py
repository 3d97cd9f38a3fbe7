"""What every drafter that reads logits does with them."""

from torch import Tensor

from dynexit.decoding.drafters import Text
from dynexit.decoding.records import Draft, Plan
from dynexit.decoding.sampling import NO_TOKEN
from dynexit.model.drafting_rule import Child, Growth
from dynexit.model.interface import Span
from dynexit.model.parts import open_of, span_of, tokens_of
from dynexit.model.readings import Readings


class Proposal:
    """A draft that grows level by level, until `over`.

    It ends as the plan says, after a token that ends the text, and without a token where logits are
    not numbers: whether that matters, the target's own will tell.

    Attributes:
        draft: so far.
        best_only: whether it is enough to know every row's best token.
    """

    def __init__(self, text: Text, plan: Plan) -> None:
        self._rule = plan.rule(eos=text.limits.eos)
        self._sampler, self._start = text.sampler, text.cache.length
        self._confident, self._growth = plan.reads_confidence, Growth(self._rule)
        self.best_only = text.sampler.best_only and self._rule.ranks == 1
        self.draft = Draft(layer=plan.exit_layer, slot=self._rule.slot(self._start))

    @property
    def over(self) -> bool:
        """Whether there is no further token."""
        return self._growth.over

    def span(self, text: Text) -> Span:
        """The rows of the last level, over the sequence's cache."""
        return span_of(self._growth, self._rule, text.cache, self._start)

    def tokens(self, newest: int) -> list[int]:
        """Those of the rows of the last level; of row 0, `newest`."""
        return tokens_of(self._growth, newest)

    def open(self, hidden: Tensor) -> Tensor:
        """Of the states [n, D] of the last level's rows, those of rows that may have children."""
        return open_of(self._growth, hidden)

    def add(self, logits: Tensor | Readings) -> bool:
        """Choose the next level from the logits [n, V] of the open rows; says whether there is any
        token.
        """
        if isinstance(logits, Tensor) and self._rule.ranks > 1:
            grown = self._growth.grow(self._children(logits))
        else:
            grown = self._add_one(logits)
        if grown:
            self.draft.take(self._growth.nodes)
            if not self._confident:
                self.draft.confidences = []
        return grown

    def _add_one(self, logits: Tensor | Readings) -> bool:
        """A chain's next token."""
        draft = self.draft
        row = len(draft.tokens)
        choice = self._sampler.choose(logits, draft.tokens, row, self._confident)
        sure = choice.confidences[0] if self._confident else 1.0
        if (token := choice.tokens[0]) == NO_TOKEN:
            return False
        if not self._growth.grow([Child(row, 0, token, sure, sure)]):
            return False
        if choice.logits is not None:
            draft.logits.append(choice.logits)
        return True

    def _children(self, logits: Tensor) -> list[Child]:
        """Candidates of the next level."""
        found = []
        for index, row in enumerate(self._growth.open):
            path = self.draft.path_to(row)
            given = logits[index : index + 1], self._rule.ranks, path, len(path)
            tokens, likely = self._sampler.candidates(*given)
            pairs = zip(tokens, likely, strict=True)
            found += [Child(row, rank, *pair, likely[0]) for rank, pair in enumerate(pairs)]
        return found
