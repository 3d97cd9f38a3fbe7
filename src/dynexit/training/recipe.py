"""The settings of a training run, all of them in one YAML file."""

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
    """LayerSkip's settings (arXiv 2404.16710, section 4); zero turns a part off.

    Attributes:
        distill: share of an exit's loss that is against a distribution, not against the text.
        teacher: whose distribution: the last layer's as it learns, or that of the model that
            training starts from, which the last layer is then held to, too.
    """

    dropout_max: float = 0.1
    dropout_schedule: Literal["exponential", "constant"] = "exponential"
    loss_scale: float = 1.0
    exit_weights: Literal["quadratic", "uniform"] = "quadratic"
    curriculum: Literal["rotational", "gradual"] = "rotational"
    rotation: int = 5
    distill: float = 0.0
    teacher: Literal["last", "start"] = "last"


@dataclass(frozen=True)
class Diffusion:
    """Settings of the objective `masked-diffusion`.

    Attributes:
        layers: of the model that training starts from, the first ones are kept; 0 is all.
        block_share: share of windows whose masks are a block at the end, as in drafting.
        block: the longest such block.
    """

    layers: int = 0
    block_share: float = 0.0
    block: int = 32


@dataclass(frozen=True)
class Adapter:
    """Train low-rank differences of all matrices of layers instead of weights (LoRA, arXiv
    2106.09685); rank 0 trains the weights.

    Attributes:
        early_rank: of the first `early_layers`, which have the most to learn; 0 is `rank`.
    """

    rank: int = 0
    early_rank: int = 0
    early_layers: int = 0

    def rank_of(self, layer: int) -> int:
        """Of a layer, counted from 0."""
        return (self.early_rank or self.rank) if layer < self.early_layers else self.rank


@dataclass(frozen=True)
class Optimisation:
    """Muon for matrices, AdamW for everything else and for an adapter; warm-up, plateau, linear
    decay to zero.
    """

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
    """A whole run. `start_from` names a checkpoint to continue, as a folder, a GGUF file, a hub id
    or `bundled`; else `shape` is trained anew.
    """

    domains: list[Domain]
    vocab_size: int = 8_192
    start_from: str | None = None
    objective: Literal["early-exit", "masked-diffusion"] = "early-exit"
    shape: Shape = field(default_factory=Shape)
    early_exit: EarlyExit = field(default_factory=EarlyExit)
    diffusion: Diffusion = field(default_factory=Diffusion)
    adapter: Adapter = field(default_factory=Adapter)
    optimisation: Optimisation = field(default_factory=Optimisation)
    seed: int = 0
    evaluate_every: int = 100
    checkpoint_minutes: float = 5.0

    @property
    def masks(self) -> bool:
        """Whether the model learns to fill in masks, not to predict the next token."""
        return self.objective == "masked-diffusion"


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
    if not recipe.start_from and (recipe.adapter.rank or recipe.early_exit.teacher == "start"):
        raise DynexitError("recipe: an adapter and teacher: start need start_from.")
    if recipe.masks:
        _check_diffusion(recipe)
    if recipe.optimisation.batch_windows % recipe.optimisation.micro_windows:
        raise DynexitError("recipe: batch_windows must be a multiple of micro_windows.")
    return recipe


def _check_diffusion(recipe: Recipe) -> None:
    """Raises DynexitError where the settings do not fit the objective `masked-diffusion`."""
    settings = recipe.diffusion
    if recipe.adapter.rank:
        raise DynexitError("recipe: an adapter is for the objective early-exit.")
    if not 0 <= settings.block_share <= 1:
        raise DynexitError(
            f"recipe: block_share is {settings.block_share}: it must be between 0 and 1."
        )
    if 2 * settings.block > recipe.optimisation.window:
        raise DynexitError("recipe: diffusion.block is longer than half of optimisation.window.")


def _check_counts(recipe: Recipe) -> None:
    """Raises DynexitError where a whole number is too small: the seed's, an adapter's and
    diffusion's layers may be 0, others not.
    """
    zero = {"seed", "layers", *(one.name for one in fields(Adapter))}
    parts = recipe, recipe.shape, recipe.early_exit, recipe.adapter, recipe.optimisation
    for part in (*parts, recipe.diffusion):
        for one in fields(part):
            value, least = getattr(part, one.name), int(one.name not in zero)
            if one.type is int and value < least:
                raise DynexitError(f"recipe: {one.name} is {value}: it must be {least} or more.")


def _change(raw: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        raw = raw.setdefault(name, {}) if isinstance(raw, dict) else None
    if not isinstance(raw, dict):
        raise DynexitError(f"recipe: {'.'.join(path)!r} is not a setting that can be changed.")
    raw[path[-1]] = value
