"""A checkpoint as layers that run in parts.

Not responsible for choosing tokens: this room turns token ids into hidden states and logits.
"""
