"""What rows of a draft see of a long context: its first positions and the latest ones.

Source: StreamingLLM (arXiv 2309.17453), whose first positions are attention sinks; drafts by them:
MagicDec (arXiv 2408.11049). Numbers alone, without PyTorch.
"""

from typing import NamedTuple


class Window(NamedTuple):
    """A row at position p sees positions [0, sinks) and the last `recent` ones up to p itself.

    Both are 1 or more. Keys keep the angles of their positions. Only for chains.
    """

    sinks: int
    recent: int


ALL = 0, 0  # how the native library is told that there is no window
