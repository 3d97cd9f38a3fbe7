"""Traces of what every layer predicts along a text, and decoding run against them.

The loop, the drafters and the controllers are decoding's own; only the model's layers are replaced
by what was recorded, and the clock by a table of costs.
"""
