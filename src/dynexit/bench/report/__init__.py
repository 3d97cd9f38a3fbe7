"""Records -> the tables and figures of a paper.

`study.py` pairs every generation with vanilla's; `timing.py`, `rounds.py`, `grid.py`, `flops.py`
and `scores.py` are the numbers; `sections/` and `figures/` show them; `writing.py` puts all of it
into a folder.
Not responsible for running anything.
"""
