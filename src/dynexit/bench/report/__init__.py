"""Records -> the tables and figures of a paper.

`gathering.py` pairs every generation with vanilla's, model by model (`study.py`). `timing.py`,
`rounds.py`, `grid.py`, `flops.py` and `scores.py` are the numbers, `sections/` and `figures/` show
them, `writing.py` puts it all into a folder. Not responsible for running anything.
"""
