"""`auto` restricted to one source of drafts that needs no forward pass."""

from dynexit.decoding.controllers.auto import Auto


def lookup(carry: bool = False) -> Auto:
    """Draft from the text itself (prompt lookup, Saxena 2023)."""
    return Auto(exits=False, earlier=False, table=False, carry=carry)


def table(carry: bool = False) -> Auto:
    """Draft from the table that was learned from the model's own text."""
    return Auto(exits=False, lookup=False, earlier=False, carry=carry)


METHODS = {"lookup": lookup, "table": table}
