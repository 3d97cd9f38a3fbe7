"""A training run as data: everything that decides its outcome, read from one YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from dynexit.errors import DynexitError, reason
from dynexit.plain import build


@dataclass(frozen=True)
class Domain:
    """One kind of text: where it comes from, how it is written out, what is held out of it."""

    name: str
    kind: Literal["jsonl", "tsv", "text", "python-stdlib"]
    weight: float
    paths: list[str] = field(default_factory=list)
    template: str = "{text}"
    columns: list[str] = field(default_factory=list)
    held_out_documents: int = 0
    held_out_paths: list[str] = field(default_factory=list)
    exclude_paths: list[str] = field(default_factory=list)
    document_characters: int = 4_000


@dataclass(frozen=True)
class Shape:
    """The model to train from scratch (a Llama)."""

    hidden_size: int = 256
    intermediate_size: int = 704
    num_layers: int = 20
    num_heads: int = 8
    num_kv_heads: int = 4
    head_dim: int = 32
    max_positions: int = 2_048
    rope_theta: float = 10_000.0


@dataclass(frozen=True)
class EarlyExit:
    """LayerSkip's settings (arXiv 2404.16710, section 4); zero turns a part off."""

    dropout_max: float = 0.1
    dropout_schedule: Literal["exponential", "constant"] = "exponential"
    loss_scale: float = 1.0
    exit_weights: Literal["quadratic", "uniform"] = "quadratic"
    curriculum: Literal["rotational", "gradual"] = "rotational"
    rotation: int = 5
    distill: float = 0.0


@dataclass(frozen=True)
class Optimisation:
    """Muon for matrices, AdamW for everything else; warm-up, plateau, linear decay to zero."""

    tokens: int = 1_000_000
    window: int = 1_024
    batch_windows: int = 8
    micro_windows: int = 2
    matrix_rate: float = 0.02
    other_rate: float = 0.003
    weight_decay: float = 0.01
    warmup_share: float = 0.05
    decay_share: float = 0.5
    clip_norm: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """A whole run. `start_from` names a checkpoint to continue; else `shape` is trained anew."""

    domains: list[Domain]
    vocab_size: int = 8_192
    start_from: str | None = None
    shape: Shape = field(default_factory=Shape)
    early_exit: EarlyExit = field(default_factory=EarlyExit)
    optimisation: Optimisation = field(default_factory=Optimisation)
    seed: int = 0
    evaluate_every: int = 100
    checkpoint_minutes: float = 5.0


def load_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        changes: settings to put in place of the file's, such as {"early_exit.loss_scale": 0}.

    Raises:
        DynexitError: unreadable YAML, an unknown or missing setting, or one of the wrong type.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DynexitError(f"cannot read recipe {path}: {reason(error)}.") from error
    if raw is None:
        raise DynexitError(f"recipe {path} is empty.")
    for name, value in (changes or {}).items():
        _change(raw, name.split("."), value)
    recipe = build(Recipe, raw, "recipe")
    if not recipe.domains or min(d.weight for d in recipe.domains) <= 0:
        raise DynexitError("recipe: domains must be a list, each with a weight above 0.")
    _check_counts(recipe)
    if recipe.optimisation.batch_windows % recipe.optimisation.micro_windows:
        raise DynexitError("recipe: batch_windows must be a multiple of micro_windows.")
    return recipe


def _check_counts(recipe: Recipe) -> None:
    """Raises DynexitError where a whole number is 0 or less; only the seed may be 0."""
    for part in (recipe, recipe.shape, recipe.early_exit, recipe.optimisation):
        for one in fields(part):
            value, least = getattr(part, one.name), 0 if one.name == "seed" else 1
            if one.type is int and value < least:
                raise DynexitError(f"recipe: {one.name} is {value}: it must be {least} or more.")


def _change(raw: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        raw = raw.setdefault(name, {}) if isinstance(raw, dict) else None
    if not isinstance(raw, dict):
        raise DynexitError(f"recipe: {'.'.join(path)!r} is not a setting that can be changed.")
    raw[path[-1]] = value
