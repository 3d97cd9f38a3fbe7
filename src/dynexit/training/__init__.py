"""The LayerSkip recipe: layer dropout, early-exit loss, curriculum, and the loop around them.

Not responsible for decoding: what is written here is a checkpoint that any program can load.
"""
