"""Plain decoding, one token a pass: what every method must reproduce and is measured against."""

from typing import ClassVar

from dynexit.decoding.controllers.base import Controller


class Vanilla(Controller):
    """Never drafts."""

    drafts: ClassVar[bool] = False


METHODS = {"vanilla": Vanilla}
