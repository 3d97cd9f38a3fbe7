"""Records -> the tables and figures of a paper.

`gathering.py` pairs every generation with vanilla's, model by model (`study.py`). `rounds.py` and
`speeds.py` compute the numbers, `sections/` and `figures/` show them, and `writing.py` puts it all
into a folder. Not responsible for running anything.
"""
