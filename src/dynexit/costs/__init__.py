"""What passes cost on this machine: measured once per model, then looked up."""

from dynexit.decoding.costs import Costs

__all__ = ["Costs"]
