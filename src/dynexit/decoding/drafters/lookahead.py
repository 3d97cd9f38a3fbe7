"""Lookahead decoding's drafts (Fu et al. 2024, arXiv 2402.02057): guesses at several future tokens,
which every pass of the target continues, and the n-grams that they leave behind.

A column is N - 1 tokens that might follow one another. The first tokens of all columns are a chain
after the newest token, the trunk; the first column begins with the newest token itself. The rest of
column i follows row i of the trunk. A pass says what comes after each column's last token. That
makes an n-gram of N tokens for the pool, and the column drops its first token for it. So the trunk
of the next round is what the passes before made of this one. n-grams of the pool that begin with
the newest token are branches of the same tree, which is verified as every other draft is: a guess
of the window that is right is accepted, too.
"""

from collections.abc import Sequence
from itertools import islice

from dynexit.decoding.drafters import Drafter, Text
from dynexit.decoding.drafters.sources import certain_logits
from dynexit.decoding.plans import LookaheadSize, Plan
from dynexit.decoding.records import Draft
from dynexit.decoding.requests import Steps
from dynexit.decoding.sampling import NO_TOKEN

MOST = 16  # n-grams that are kept of a first token: as many as a setting can ask for


class LookaheadDrafter(Drafter):
    """Owns one text's window and pool of n-grams. The prompt's n-grams are in the pool, too.

    While texts share passes, where the model's passes are chains, and with speculative acceptance,
    the latest n-gram alone is drafted, as a chain. As no window runs then, the n-grams of the text
    itself go into the pool.
    """

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, ngram: int) -> None:
        self._ngram, self._pool = ngram, Pool()
        self._columns: list[list[int]] = []
        self._window = 0  # columns of the last draft
        self._known = 0  # tokens of the text whose n-grams the pool has

    def draft(self, text: Text, plan: Plan) -> Steps[Draft]:
        """Draft the window and the pool's n-grams as one tree of at most so many levels."""
        yield from ()
        size, levels = plan.own(LookaheadSize), plan.speculation_length
        if size.ngram != self._ngram:
            self._begin(size.ngram)
        speculative = text.sampler.sampling.speculative
        branches = text.alone and text.model.runs_trees and not speculative
        self._window = max(min(size.window, levels - size.ngram + 3), 0) if branches else 0
        self.reads = self._window > 0
        if not (self._window and self._known):
            self._learn(text.tokens)
        tree, newest = Tree(), text.tokens[-1]
        self._look_ahead(tree, text.tokens)
        for ngram in self._pool.after(newest, size.pool if branches else min(size.pool, 1)):
            tree.add(ngram[:levels])
        draft = tree.draft(text.cache.length)
        if speculative:
            draft.logits = certain_logits(draft.tokens, text.model)
        return draft

    def _learn(self, tokens: Sequence[int]) -> None:
        """Put n-grams of the text into the pool that are not in it."""
        for end in range(max(self._known + 1, self._ngram), len(tokens) + 1):
            self._pool.add(tokens[end - self._ngram : end])
        self._known = len(tokens)

    def _look_ahead(self, tree: "Tree", tokens: Sequence[int]) -> None:
        """Add the window to a tree."""
        for index in range(len(self._columns), self._window):
            self._columns.append(self._column(index, tokens))
        columns = self._columns[: self._window]
        if columns:
            columns[0][0] = tokens[-1]
        trunk = [0]
        for column in columns[1:]:  # before all others, so that it needs no slots past the text
            trunk.append(tree.add(column[:1], trunk[-1]))
        for row, column in zip(trunk, columns, strict=False):
            tree.add(column[1:], row)

    def _column(self, index: int, tokens: Sequence[int]) -> list[int]:
        """A column to begin with: tokens of the text, from places spread over it."""
        place = len(tokens) * index // max(self._window, 1)
        return [tokens[(place + each) % len(tokens)] for each in range(self._ngram - 1)]

    def read(self, text: Text, draft: Draft, best: list[int]) -> None:
        """Move the window on by what the target says after each column."""
        tree = Tree.of(draft)
        trunk: int | None = 0
        for index, column in enumerate(self._columns[: self._window]):
            trunk = tree.find(column[:1], trunk) if index else trunk
            row = tree.find(column[1:], trunk)
            if row is not None and best[row] == NO_TOKEN:
                column[:] = self._column(index, text.tokens)
            elif row is not None:
                column.append(best[row])
                self._pool.add(column)
                del column[0]


class Pool:
    """The latest n-grams by their first token."""

    def __init__(self) -> None:
        self._found: dict[int, dict[tuple[int, ...], None]] = {}

    def add(self, ngram: Sequence[int]) -> None:
        """Add an n-gram, or make it the latest. The oldest with the same first token may go."""
        first, rest = ngram[0], tuple(ngram[1:])
        known = self._found.setdefault(first, {})
        known.pop(rest, None)
        known[rest] = None
        if len(known) > MOST:
            del known[next(iter(known))]

    def after(self, token: int, count: int) -> list[tuple[int, ...]]:
        """What follows a token in its latest n-grams, the latest first."""
        return [*islice(reversed(self._found.get(token, {})), count)]


class Tree:
    """A draft that is made of paths. Equal tokens after the same row are one row."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._rows: dict[tuple[int, int], int] = {}  # by parent and token

    @classmethod
    def of(cls, draft: Draft) -> "Tree":
        """The tree that a draft is."""
        made = cls()
        for row, token in enumerate(draft.tokens, 1):
            made._rows[draft.parent_of(row), token] = row
        return made

    def add(self, path: Sequence[int], row: int = 0) -> int:
        """Add tokens one after the other after a row. Returns the last one's row."""
        for token in path:
            key = row, token
            if key not in self._rows:
                self._tokens.append(token)
                self._parents.append(row)
                self._rows[key] = len(self._tokens)
            row = self._rows[key]
        return row

    def find(self, path: Sequence[int], row: int | None) -> int | None:
        """The row of a path's last token; None if the path is not there."""
        for token in path:
            row = None if row is None else self._rows.get((row, token))
        return row

    def draft(self, start: int) -> Draft:
        """A draft after the token at position `start`."""
        chain = self._parents == list(range(len(self._parents)))
        parents, slot = None if chain else self._parents, start + len(self._tokens) + 1
        return Draft(self._tokens, parents=parents, slot=slot)


DRAFTERS = {"lookahead": lambda given: LookaheadDrafter()}
