"""`learn`: a model writes text, and what is learned from it is saved in a folder.

Not responsible for commands or for finding the folder again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynexit.environment import environment
from dynexit.errors import DynexitError
from dynexit.language_model import LanguageModel
from dynexit.learning.averaging import WIDTH, average, places_of, table_of
from dynexit.learning.card import card
from dynexit.learning.collecting import Settings, collect, has_chat
from dynexit.learning.finding import cached_folder
from dynexit.learning.journal import Journal
from dynexit.learning.judging import coverage, coverage_of_families, frequencies, judge
from dynexit.learning.learned import FORMAT, FREQUENT, About, Learned, Recipe, write_learned
from dynexit.learning.predicting import predict
from dynexit.learning.prompts import OWN, Prompt, in_turn, read_prompts
from dynexit.learning.writing import KEPT
from dynexit.model.fingerprint import weights_fingerprint
from dynexit.plain import build

TEXTS = "texts.jsonl"


def learn(
    lm: LanguageModel,
    out: Path | str | None = None,
    progress: Callable[[int], None] = lambda tokens: None,
    **settings: Any,
) -> Learned:
    """Let a model write, and learn of its text what its next tokens are likely to be.

    Interrupted, it goes on where it was when it is called again: texts lie in `out`.

    Args:
        out: the folder; None is one in the cache, where `load` finds it.
        progress: called with new tokens as they are written, what was there already at first.
        settings: fields of `Settings`.

    Raises:
        DynexitError: a model without a tokenizer or a file, settings out of range, or a folder that
            cannot be written.
    """
    chosen = build(Settings, settings, "learn")
    _check(lm, chosen)
    folder = folder_for(lm, out)
    journal = Journal(folder / TEXTS, {"fingerprint": _fingerprint(lm), "likely": KEPT})
    try:
        collect(lm, journal, _given(chosen, has_chat(lm)), chosen, progress)
        return _fit(lm, journal, folder, chosen)
    finally:
        journal.close()


def folder_for(lm: LanguageModel, out: Path | str | None) -> Path:
    """Where what is learned of a model comes to lie."""
    return cached_folder(_fingerprint(lm)) if out is None else Path(out)


def _fingerprint(lm: LanguageModel) -> str:
    assert lm.folder is not None
    return weights_fingerprint(lm.folder)


def _given(settings: Settings, chat: bool) -> list[Prompt]:
    """A user's prompts, those that judge first."""
    files = ((settings.judges, True), (settings.prompts, False))
    return [one for file, judges in files if file for one in read_prompts(file, chat, judges)]


def _check(lm: LanguageModel, settings: Settings) -> None:
    if lm.tokenizer is None or lm.folder is None:
        raise DynexitError("learning needs a model loaded from a checkpoint with a tokenizer.")
    list(in_turn(settings.families))
    if settings.longest >= (context := lm.model.config.max_positions):
        raise DynexitError(
            f"longest is {settings.longest}, but the model's context holds only {context} tokens, "
            "prompt included."
        )


def _fit(lm: LanguageModel, journal: Journal, folder: Path, settings: Settings) -> Learned:
    texts = [text for text in journal.texts.values() if not text.held_out]
    held_out = [text for text in journal.texts.values() if text.held_out]
    if not texts:
        raise DynexitError("no prompt fits the model's context: there is nothing to learn from.")
    places = places_of(texts)
    table = table_of(average(places, WIDTH), settings.table_size, lm.model.vocabulary_size)
    frequent = frequencies(texts)
    kept = min(len(frequent), FREQUENT)
    recipe = Recipe(
        texts=len(texts),
        tokens=sum(len(text.new_tokens) for text in texts),
        positions=len(places.lengths),
        longest=max(settings.longest, *(len(text.new_tokens) for text in texts)),
        table_size=settings.table_size,
        chat=has_chat(lm),
        own_prompts=len({text.number for text in texts if text.family == OWN}),
    )
    about = About(
        format=FORMAT,
        model=Path(lm.name).name,
        fingerprint=_fingerprint(lm),
        vocabulary_size=lm.model.vocabulary_size,
        made_by=f"dynexit {environment(lm.model)['dynexit']}",
        recipe=recipe,
        held_out=judge(table, held_out),
        covered=coverage(frequent[:kept].tolist(), held_out),
        families=coverage_of_families(frequent[:kept].tolist(), held_out),
        prediction=predict(lm, table, held_out),
    )
    return write_learned(folder, table, frequent, about, card(table, kept, about))
