"""The rates of decoding: raw counts in, None where there is nothing to divide by.

Not responsible for counting. Leaves count as drafted and accepted tokens.
"""


def tokens_per_second(tokens: float, seconds: float) -> float | None:
    """Speed of decoding; a prefill's token and seconds are in neither count."""
    return tokens / seconds if seconds else None


def speedup(own: float | None, plain: float | None) -> float | None:
    """How many times plain decoding's speed a speed is; a speed of 0 is an unknown one."""
    return own / plain if own and plain else None


def acceptance_rate(accepted: int, drafted: int) -> float | None:
    """Share of drafted tokens that the target agreed with."""
    return accepted / drafted if drafted else None


def mean_acceptance_length(accepted: int, rounds: int) -> float | None:
    """Tokens per round, the target's own among them."""
    return 1 + accepted / rounds if rounds else None


def etpl(tokens: int, drafted_layers: int, rounds: int, num_layers: int) -> float | None:
    """Effective tokens per layer (DEL, section 5): tokens / sum over rounds of (E * d + L).

    Args:
        drafted_layers: sum over rounds of exit layer E x drafted tokens d.
        num_layers: L, of the target.
    """
    loaded = drafted_layers + rounds * num_layers
    return tokens / loaded if loaded else None
