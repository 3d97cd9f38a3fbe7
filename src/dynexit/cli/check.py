"""`dynexit check`: is a method's text plain decoding's, token for token?"""

from typing import TYPE_CHECKING, Any

import typer
from rich.progress import track
from rich.text import Text

from dynexit.cli.bench import Methods
from dynexit.cli.options import DraftModel, Loading, Model, NewTokens, Prompts
from dynexit.cli.printing import note, notes, say
from dynexit.cli.spreading import spread
from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from dynexit.bench.check import Difference
    from dynexit.language_model import LanguageModel


@spread
def check(
    model: Model = None,
    method: Methods = None,
    *,
    prompts: Prompts,
    max_new_tokens: NewTokens = 128,
    draft_model: DraftModel = None,
    how: Loading,
) -> None:
    """Check that greedy texts equal plain decoding's, token for token.

    The exit code is 1 if a text differs by more than rounding or could not be compared.
    """
    from dynexit.bench.options import TABLE_1
    from dynexit.methods import usable_controller

    methods = [m for m in (method or TABLE_1) if m != "vanilla"]
    for one in methods:
        usable_controller(one, draft_model is not None)  # before the model loads
    examples = prompts.load()
    lm, second = how.load_both(model, draft_model)
    checker = Checker(lm, methods, {"max_new_tokens": max_new_tokens, "draft_model": second})
    for name, example in track(examples, "checking", console=notes, transient=True):
        checker.compare(f"{name} {example.id}", example.prompt)
    checker.sum_up()
    if checker.wrong or checker.failed:
        raise typer.Exit(1)


class Checker:
    """Compares texts of several methods with plain decoding's, and counts what it finds."""

    def __init__(self, lm: "LanguageModel", methods: list[str], options: dict[str, Any]) -> None:
        self.wrong = self.failed = 0
        self._lm, self._options = lm, options
        self._same, self._compared = dict.fromkeys(methods, 0), dict.fromkeys(methods, 0)

    def compare(self, row: str, prompt: str) -> None:
        """Run all methods on one prompt. A row that cannot run is noted by name and skipped."""
        plain = self._written(row, prompt, "vanilla")
        if plain is None:
            return
        for method in self._same:
            other = self._written(row, prompt, method)
            if other is not None:
                found = self._difference(prompt, plain, other)
                self._compared[method] += 1
                self._same[method] += found is None
                if found is not None:
                    self.wrong += not found.near_tie
                    say(f"{row} {method}: {describe(found, self._lm)}")

    def sum_up(self) -> None:
        """A line for each method, and one for each kind of fault."""
        for method, same in self._same.items():
            say(f"{method}: {same} of {self._compared[method]} texts identical to vanilla's")
        if self.wrong:
            say(Text(f"{self.wrong} differ by more than rounding", "red"))
        if self.failed:
            say(Text(f"{self.failed} could not be written", "red"))

    def _written(self, row: str, prompt: str, method: str) -> list[int] | None:
        try:
            return self._lm.generate(prompt, method, **self._options).token_ids
        except DynexitError as error:
            note("failed:", "yellow", f"{row} {method}: {error}")
            self.failed += 1
            return None

    def _difference(self, prompt: str, plain: list[int], other: list[int]) -> "Difference | None":
        from dynexit.bench.check import first_difference

        tokenizer = self._lm.tokenizer
        ids = tokenizer.encode(prompt) if tokenizer else []
        return first_difference(self._lm, ids, plain, other)


def describe(found: "Difference", lm: "LanguageModel") -> str:
    """One line: where the texts differ, how, and whether rounding explains it."""
    decode = lm.tokenizer.decode if lm.tokenizer else str
    words = ["the end" if t is None else repr(decode([t])) for t in (found.plain, found.other)]
    verdict = "a near tie" if found.near_tie else "NOT a near tie"
    return (
        f"new token {found.position} is {words[1]} instead of {words[0]}; the target's logits are "
        f"{found.gap:.2g} apart, rounding moves them by {found.rounding:.2g}: {verdict}"
    )
