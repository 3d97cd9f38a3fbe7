"""Plain decoding, one token a pass: what every method must reproduce and is measured against."""

from dynexit.decoding.controllers.base import Controller


class Vanilla(Controller):
    """Never drafts."""


METHODS = {"vanilla": Vanilla}
