"""Which tokens of the head exits choose among, kept beside the model (VocabTrim, arXiv 2506.22694).

The tokens are the most frequent ones of text that the model itself wrote. Counting them is
`learn`'s; this is the choice of how many.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dynexit.errors import DynexitError
from dynexit.language_model import LanguageModel
from dynexit.learning.card import card
from dynexit.learning.learn import folder_for, learn
from dynexit.learning.learned import FREQUENT, Learned, write_learned


def choose_draft_vocabulary(
    lm: LanguageModel,
    size: int | None = None,
    out: Path | str | None = None,
    progress: Callable[[int], None] = lambda tokens: None,
    **settings: Any,
) -> Learned:
    """Let exits choose among the model's `size` most frequent tokens from its next loading on.

    If nothing was learned from the model yet, `learn` runs first, with these `settings`.

    Args:
        size: None goes back to as many as hold 99 % of the model's text.
        out: the folder; None is one in the cache, where `load` finds it.

    Raises:
        DynexitError: as `learn`; or fewer tokens are known than `size`.
    """
    known = lm.learned or learn(lm, out, progress, **settings)
    if size is not None and not 1 <= size <= len(known.frequent):
        raise DynexitError(
            f"size is {size}, but of this model's text 1 to {len(known.frequent):,} tokens are "
            f"known (at most {FREQUENT:,}): choose among these, or learn from more text."
        )
    about = replace(known.about, draft_tokens=size)
    text = card(known.table, len(known.frequent), about)
    frequent = np.array(known.frequent, np.uint32)
    return write_learned(folder_for(lm, out), known.table, frequent, about, text)
