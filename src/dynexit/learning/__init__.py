"""What a model's own text teaches: likely successors of contexts, and its most frequent tokens.

Not responsible for how drafts are made of that: see `decoding/drafters/`.
"""
