"""Plain decoding cut at an early layer: fast, and LOSSY. The text is not the model's."""

from dataclasses import dataclass
from typing import ClassVar

from dynexit.decoding.controllers.base import FixedExit


@dataclass
class EarlyExit(FixedExit):
    """The exit layer is taken for the last one; nothing verifies it (CALM, LayerSkip 4.2)."""

    lossless: ClassVar[bool] = False
    drafts: ClassVar[bool] = False

    def target_layer(self) -> int:
        """The exit layer."""
        return self.exit


METHODS = {"early-exit": EarlyExit}
