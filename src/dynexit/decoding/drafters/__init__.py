"""Where drafts come from: one file each.

A drafter is a function `(sequence, plan) -> Steps[Draft]` that proposes up to
`plan.speculation_length` tokens after the newest committed one. It may write the KV of the layers
that it runs at positions past the committed length, and must leave the sequence's tokens alone.
"""
