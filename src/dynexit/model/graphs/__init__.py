"""The forward pass as recorded pieces: where launching operations costs more than running them.

Everything of a layer but attention, whose length changes, is recorded once for a number of rows and
replayed with one launch. `pieces.py` says what is recorded, `recording.py` how CUDA does it,
`transformer.py` runs layers with it, `drafting.py` drafts without a wait, `trial.py` compares with
the pass that is not recorded before anything is believed.
"""
