"""The forward pass as recorded pieces, for devices where launching operations takes longer than
running them.

A layer is recorded once for a number of rows and replayed with one launch. `pieces.py` says what is
recorded, `sight.py` what a recorded layer reads of the rows that pass it, `kernels.py` attends by
that on a card, `host.py` on a processor, `recording.py` records on CUDA, `transformer.py` runs
layers with it, `drafting.py` drafts without a wait, `trial.py` compares with the pass that is not
recorded before anything is believed.
"""
