"""Learns from a model's own text: likely next tokens after contexts, and frequent tokens.

Not responsible for drafting from them: see `decoding/proposers/`.
"""
