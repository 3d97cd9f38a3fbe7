"""Tests whether a model run in parts gives the same logits as when run whole."""

from typing import Any

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.integrations.transformers.adapter import Adapter
from dynexit.integrations.transformers.versions import cache_keyword, cache_of
from dynexit.model.interface import Span

LENGTH, PROMPT = 9, 5
MARGIN, FLOOR = 4.0, 1e-5  # of what plain decoding's own rounding changes, relative to the logits


def adapted(model: Any) -> Adapter:
    """An adapter whose logits, drafted and verified, have been held to the model's own.

    Raises:
        DynexitError: a model whose layers cannot run in parts, by its class.
    """
    name = type(model).__name__
    try:
        adapter = Adapter(model)
        off, rounding = _distances(model, adapter)
    except DynexitError as error:
        raise DynexitError(f"{name} cannot run in parts: {error}.") from error
    except (AttributeError, IndexError, KeyError, TypeError, RuntimeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DynexitError(f"{name} cannot run in parts ({reason}).") from error
    if not off <= MARGIN * rounding + FLOOR:
        raise DynexitError(
            f"{name} cannot run in parts: its logits would be {off:.1%} off, because its "
            "layers keep a state that exits and rollback do not reach."
        )
    return adapter


@torch.inference_mode()
def _distances(model: Any, adapter: Adapter) -> tuple[float, float]:
    """From the logits of one pass: those in parts, and those of plain decoding, token by token."""
    tokens = [1 + (7 * i) % (adapter.vocabulary_size - 1) for i in range(LENGTH)]
    ids = torch.tensor([tokens], device=adapter.device)
    whole = model(input_ids=ids, use_cache=False).logits[0].double()
    passed = model(input_ids=ids[:, :PROMPT], use_cache=True)
    plain = [passed.logits[0]]
    for at in range(PROMPT, LENGTH):
        past = {cache_keyword(model.forward): cache_of(passed)}
        passed = model(input_ids=ids[:, at : at + 1], use_cache=True, **past)
        plain.append(passed.logits[0])
    found = (_in_parts(adapter, tokens), torch.cat(plain))
    off, rounding = (float((logits - whole).norm() / whole.norm()) for logits in found)
    return off, rounding


def _in_parts(adapter: Adapter, tokens: list[int]) -> Tensor:
    """A prompt, a draft that is rejected, then one of single tokens that is verified."""
    cache, depth = adapter.new_cache(), adapter.config.num_layers
    layer = max(1, depth // 2)

    def run(hidden: Tensor, start: int, first: int, last: int) -> Tensor:
        rows = adapter.rows([Span(cache, start, len(hidden))])
        return adapter.run_layers(hidden, rows, first, last)

    prompt = run(adapter.embed(tokens[:PROMPT]), 0, 0, depth)
    run(adapter.embed(tokens[:3]), PROMPT, 0, depth)
    drafted = [
        run(adapter.embed(tokens[at : at + 1]), at, 0, layer) for at in range(PROMPT, LENGTH)
    ]
    verified = run(torch.cat(drafted), PROMPT, layer, depth)
    return adapter.unembed(torch.cat((prompt, verified)))
