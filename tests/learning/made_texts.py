"""Texts of random tokens, as a model might have written them."""

import numpy as np

from dynexit.learning.journal import Text, packed
from dynexit.learning.writing import KEPT


def made_text(seed, number=0, vocabulary=12, length=40, prompt=5, family="lists"):
    """A text whose successors follow a few rules, with noise."""
    random = np.random.default_rng(seed)
    tokens = [int(random.integers(vocabulary))]
    while len(tokens) < length:
        tokens.append(int(random.choice([(tokens[-1] * 3 + 1) % vocabulary, 2], p=[0.7, 0.3])))
    likely = np.argsort(random.random((length - 1, vocabulary)))[:, :KEPT].astype(np.uint32)
    chances = np.sort(random.dirichlet(np.ones(KEPT), length - 1))[:, ::-1].astype(np.float16)
    stored = packed(likely), packed(np.ascontiguousarray(chances))
    return Text(family, number, 0.0, prompt, tuple(tokens), 0, *stored)
