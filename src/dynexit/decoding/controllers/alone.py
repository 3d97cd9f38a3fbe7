"""`auto` with one source of drafts that takes no pass, and with nothing else."""

from dynexit.decoding.controllers.auto import Auto


def lookup(carry: bool = False) -> Auto:
    """What the text holds already (prompt lookup, Saxena 2023)."""
    return Auto(exits=False, earlier=False, table=False, carry=carry)


def table(carry: bool = False) -> Auto:
    """What was learned of the model's own text."""
    return Auto(exits=False, lookup=False, earlier=False, carry=carry)


METHODS = {"lookup": lookup, "table": table}
