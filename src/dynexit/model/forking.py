"""Models in forked processes. A child has none of its parent's threads. If PyTorch's threads have
run in the parent, PyTorch in the child still gives them work and waits forever. (The native
library starts threads of its own in a child, see `native/pool.cpp`.)
"""

import os
from functools import cache, partial

import torch


@cache
def prepare_forks() -> None:
    """From now on, PyTorch works with one thread in every process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
