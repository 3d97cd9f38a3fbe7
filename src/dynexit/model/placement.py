"""Which device each layer of a model lies on, for models larger than one.

Not responsible for what runs there: a layer runs where its weights are.
"""

from collections.abc import Sequence

import torch

from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig


def place_layers(config: ModelConfig, devices: Sequence[torch.device]) -> list[torch.device]:
    """The device of every layer: a contiguous range on each device, balanced by bytes of weights.

    The first device also holds embedding, final norm and head, so it gets fewer layers. They are
    there because drafts run the first layers and the head, token by token: no draft of an early
    exit on the first device crosses a border, and a tied head is held once.

    Raises:
        DynexitError: more devices than layers.
    """
    if len(devices) > config.num_layers:
        raise DynexitError(
            f"{len(devices)} devices are given for {config.num_layers} layers: "
            f"give at most {config.num_layers}."
        )
    tables = 1 if config.tie_embeddings else 2
    loads = [config.layer_parameters] * len(devices)
    loads[0] += tables * config.head_parameters
    counts = [1] * len(devices)
    for _ in range(config.num_layers - len(devices)):
        lightest = min(range(len(devices)), key=loads.__getitem__)
        loads[lightest] += config.layer_parameters
        counts[lightest] += 1
    return [d for d, count in zip(devices, counts, strict=True) for _ in range(count)]
