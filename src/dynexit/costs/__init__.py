"""What passes cost on this machine: measured once per model, then looked up."""

from dynexit.costs.table import Costs

__all__ = ["Costs"]
