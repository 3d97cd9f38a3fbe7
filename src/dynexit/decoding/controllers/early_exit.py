"""Plain decoding that exits at an early layer: fast, but LOSSY. The text is not the model's."""

from dataclasses import dataclass
from typing import ClassVar

from dynexit.decoding.controllers.base import FixedExit


@dataclass
class EarlyExit(FixedExit):
    """Uses the exit layer as if it were the last; nothing is verified (CALM, LayerSkip 4.2)."""

    lossless: ClassVar[bool] = False
    drafts: ClassVar[bool] = False

    def target_layer(self) -> int:
        """The exit layer."""
        return self.exit


METHODS = {"early-exit": EarlyExit}
