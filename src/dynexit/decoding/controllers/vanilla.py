"""Plain decoding, one token per pass: the reference for every method's text and speed."""

from typing import ClassVar

from dynexit.decoding.controllers.base import Controller


class Vanilla(Controller):
    """Never drafts."""

    drafts: ClassVar[bool] = False


METHODS = {"vanilla": Vanilla}
