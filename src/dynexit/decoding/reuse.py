"""What a text takes over from earlier texts of the same model, and leaves for later ones."""

from dataclasses import dataclass

from dynexit.decoding.prefixes import PrefixCache
from dynexit.model.native.earlier import NativeEarlier


@dataclass(frozen=True)
class Reuse:
    """Caches that texts share. They change neither a text's tokens nor their distribution.

    Attributes:
        prefixes: the model's `prefix_cache`: a known prefix of a prompt is not computed again.
        earlier: earlier texts to draft from, from `EarlierTexts`.
        salt: only texts of the same salt share cached prefixes.
    """

    prefixes: PrefixCache | None = None
    earlier: NativeEarlier | None = None
    salt: str = ""
