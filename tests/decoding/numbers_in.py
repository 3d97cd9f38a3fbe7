"""What controllers are given in tests: no model, only numbers."""

import numpy as np

from dynexit import Plan, Round, ShadowTokens


def started(controller, num_layers=8):
    controller.start(num_layers)
    return controller


def shadows(*layers):
    """One list a layer, of the positions' confidences; negative where it did not match."""
    table = np.array(layers, dtype=np.float32)
    return ShadowTokens(table > 0, np.abs(table))


def finished(drafted=0, accepted=0, shadow=None):
    return Round(Plan(1, drafted), drafted, accepted, accepted + 1, shadow=shadow)
