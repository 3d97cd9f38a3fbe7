"""Tensor parallel: several processes, one for each card, hold a model together and run its passes.

Process 0 (rank 0) decodes. The others hold their share of the weights and of every cache, and run
each call that rank 0 announces. `group.py` joins the processes, `watching.py` ends them together,
`messages.py` carries calls, `member.py` runs them, `shard.py` is one process's share of a model,
`cuts.py` says which weights that is, `sharded.py` is the whole as decoding sees it, `cache.py` its
caches, `loading.py` loads it, `working.py` is what the other processes do.
"""
