"""What only a GPU can show: tests, passes, methods and training, each in a process of its own.

`__main__.py` runs the parts in turn and ends those that take too long; `part.py` is what a part
holds; `results.py` is the one file that all of them write into. A part is one file with `run`.
"""
