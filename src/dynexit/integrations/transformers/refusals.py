"""Refuses, by name, options of `generate` that speculation cannot follow. None is ignored."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from dynexit.errors import DynexitError
from dynexit.integrations.transformers.versions import is_empty_cache

OUTPUTS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
UNDERSTOOD = {
    "attention_mask", "position_ids", "use_cache", "logits_to_keep", "cache_position",
    "synced_gpus",
}  # fmt: skip


def refuse_model(model: Any) -> None:
    """Raises DynexitError for a model that is no decoder of attention alone, or in training."""
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise DynexitError(f"{name} is an encoder-decoder model: use a decoder-only model.")
    if model._is_stateful:
        raise DynexitError(
            f"{name} keeps a state that cannot be rolled back, so it is not supported."
        )
    if model.training or any(map(_drops, model.modules())):
        raise DynexitError(f"{name} is in training mode: call its eval() first.")


def _drops(module: nn.Module) -> bool:
    """Whether a part drops values at random: an adapter added to a model in evaluation may."""
    shares = [value for name, value in vars(module).items() if "dropout" in name]
    shares += [module.p] if isinstance(module, _DropoutNd) else []
    return module.training and any(isinstance(share, float) and share > 0 for share in shares)


def refuse_settings(config: Any, assistant: Any) -> None:
    """Raises DynexitError for a way of decoding that is neither greedy nor sampling."""
    if assistant is not None:
        raise DynexitError('assistant_model: give it as draft_model, with method="two-model".')
    mode = str(config.get_generation_mode(None).value)
    if mode not in ("greedy_search", "sample"):
        raise DynexitError(
            f"{mode.replace('_', ' ')} is not supported: use greedy decoding or sampling, and "
            "choose the drafter by `method`."
        )
    if (config.num_return_sequences or 1) > 1 and mode == "greedy_search":
        raise DynexitError("num_return_sequences above 1 needs do_sample=True.")
    if asked := [name for name in OUTPUTS if getattr(config, name, None)]:
        raise DynexitError(f"{asked[0]} is not supported: rejected drafts leave no such record.")


def refuse_arguments(arguments: dict[str, Any]) -> None:
    """Raises DynexitError for inputs of the model that are more than ids and a mask.

    Names change from release to release, so arguments without content pass under any name.
    """
    said = {name for name, v in arguments.items() if v is not None and not is_empty_cache(v)}
    unknown = sorted(said - UNDERSTOOD)
    if unknown and hasattr(arguments[unknown[0]], "get_seq_length"):
        raise DynexitError(
            f"{unknown[0]} already holds tokens and cannot be continued: leave it out."
        )
    if unknown:
        raise DynexitError(f"{unknown[0]} cannot be used: give input_ids and an attention_mask.")


def prompts_of(ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> list[list[int]]:
    """Each row's own tokens, without the padding before them.

    Raises:
        DynexitError: padding anywhere else, an empty row, or positions of one's own.
    """
    if not ids.numel():
        raise DynexitError("a prompt is empty: give at least one token.")
    mask = torch.ones_like(ids) if mask is None else mask.to(ids.device)
    if mask.shape != ids.shape or bool((mask.diff(dim=1) < 0).any()):
        raise DynexitError("attention_mask may mask padding on the left only.")
    if not bool(mask[:, -1].all()):
        raise DynexitError("a prompt is empty: give at least one token.")
    usual = mask.long().cumsum(-1) - 1
    if positions is not None and bool(((positions.to(ids.device) != usual) & (mask != 0)).any()):
        raise DynexitError("position_ids other than 0, 1, 2 ... cannot be used: leave them out.")
    return [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]


def refuse_tokens(prompts: list[list[int]], vocabulary: int) -> None:
    """Raises DynexitError for ids that have no embedding."""
    if wrong := [token for ids in prompts for token in ids if not 0 <= token < vocabulary]:
        raise DynexitError(f"token id {wrong[0]} is outside the vocabulary of {vocabulary} tokens.")


def refuse_length(model: Any, longest: int) -> None:
    """Raises DynexitError where angles depend on the length of a pass, which drafts change."""
    told = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    for rope in (told, *told.values()):  # of all layers, or of each kind of layers
        if not isinstance(rope, dict) or rope.get("rope_type") != "longrope":
            continue
        if longest > (limit := rope["original_max_position_embeddings"]):
            raise DynexitError(
                f"{type(model).__name__} changes its rotary frequencies past {limit} positions "
                f"(longrope): prompt and new tokens together may be at most {limit + 1}."
            )
