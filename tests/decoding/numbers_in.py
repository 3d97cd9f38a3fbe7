"""What controllers are given in tests: no model, only numbers."""

import numpy as np

from dynexit import Facts, Plan, Round, ShadowTokens


def facts(num_layers=8, costs=None, sample=None, draft_vocabulary=None):
    return Facts(num_layers, costs, sample, draft_vocabulary, None, None, None)


def started(controller, num_layers=8, **known):
    controller.start(facts(num_layers, **known))
    return controller


def shadows(*layers):
    """One list a layer, of the positions' confidences; negative where it did not match."""
    table = np.array(layers, dtype=np.float32)
    return ShadowTokens(table > 0, np.abs(table))


def finished(drafted=0, accepted=0, shadow=None):
    return Round(Plan(1, drafted), drafted, accepted, accepted + 1, shadow=shadow)
