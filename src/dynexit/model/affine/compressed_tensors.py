"""compressed-tensors' `pack-quantized`, as llm-compressor writes it.

Words of `weight_packed` [outputs, inputs * bits / 32] hold consecutive inputs, those of
`weight_zero_point` [outputs * bits / 32, groups] consecutive outputs. Values and zero points are
signed, and 2^(bits - 1) more in their words: their differences are the same.
(https://github.com/vllm-project/compressed-tensors, `compressors/pack_quantized`)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from dynexit.errors import DynexitError
from dynexit.model.affine.layout import (
    PER_ROW,
    SCALES,
    WORDS,
    GroupSize,
    Layout,
    Module,
    Piece,
    Scheme,
    refuse,
)
from dynexit.model.affine.values import Values, unpacked
from dynexit.model.config import Section, require, value_of

SIZES = ("I64", "I32")
WITHOUT = ("kv_cache_scheme", "transform_config")  # settings that change what a model says
ORDERED = ("group", "dynamic", "true")  # settings of `actorder` by which groups have any inputs


@dataclass(frozen=True)
class PackQuantized(Layout):
    """The format."""

    name = "compressed-tensors"
    mark = "weight_packed"
    order = "weight_g_idx"

    def shape(self, module: Module, scheme: Scheme) -> tuple[int, int]:
        """See `Layout`."""
        if module.told("weight_shape", 1, *SIZES) != (2,):
            raise DynexitError(f"tensor '{module.name}.weight_shape' is not the shape of a matrix.")
        outputs, inputs = module.read("weight_shape").tolist()
        return int(outputs), int(inputs)

    def pieces(self, scheme: Scheme, outputs: int, inputs: int) -> dict[str, Piece]:
        """See `Layout`."""
        groups = scheme.groups(inputs)
        zeros = {"weight_zero_point": Piece((scheme.words(outputs), groups), WORDS)}
        return {
            "weight_packed": Piece((outputs, scheme.words(inputs)), WORDS),
            "weight_scale": Piece((outputs, groups), SCALES),
            "weight_shape": Piece((2,), SIZES),
            "weight_g_idx": Piece((inputs,), WORDS, optional=not scheme.ordered),
            **({} if scheme.symmetric else zeros),
        }

    def unpack(self, module: Module, scheme: Scheme, outputs: int, inputs: int) -> Values:
        """See `Layout`."""
        values = unpacked(module.read("weight_packed"), scheme.bits)[:, :inputs]
        scales = module.read("weight_scale")
        if scheme.symmetric:
            zeros = torch.full(scales.shape, scheme.middle, dtype=torch.uint8)
        else:
            zeros = unpacked(module.read("weight_zero_point").T, scheme.bits)[:, :outputs].T
        return Values(scheme.bits, values, zeros, scales)


def parse(settings: Section) -> Layout:
    """The format as a configuration describes it.

    Raises:
        DynexitError: settings that do not run, by name.
    """
    if set_one := next((key for key in WITHOUT if settings.get(key)), None):
        raise DynexitError(f"config.json: {set_one} is set, which is not supported.")
    refuse(value_of(settings, "sparsity_config", Section, {}), format=("dense",))
    groups = require(settings, "config_groups", Mapping[str, Section])
    whole = value_of(settings, "format", str, "none")
    schemes = tuple(dict.fromkeys(_scheme(group, whole) for group in groups.values()))
    if not schemes:
        raise DynexitError("config.json: config_groups is empty: it must describe the weights.")
    return PackQuantized(schemes, tuple(value_of(settings, "ignore", Sequence[str], ())))


def _scheme(group: Section, form: str) -> Scheme:
    """What a group of modules has in common."""
    refuse({"format": value_of(group, "format", str, form)}, format=("pack-quantized",))
    for key in ("input_activations", "output_activations"):
        if group.get(key):
            raise DynexitError(f"config.json: {key} are quantised, which is not supported.")
    weights = require(group, "weights", Section)
    refuse(weights, type=("int",), dynamic=(False,), strategy=("group", "channel"))
    size = value_of(weights, "group_size", GroupSize)
    strategy = weights.get("strategy") or ("group" if size != PER_ROW else "channel")
    if (strategy.lower() == "group") != (size not in (None, PER_ROW)):
        raise DynexitError(
            f"config.json: strategy {strategy!r} does not go with group_size {size}."
        )
    return Scheme(
        require(weights, "num_bits", int),
        PER_ROW if size is None else size,
        value_of(weights, "symmetric", bool, True),
        ordered=str(weights.get("actorder")).lower() in ORDERED,
    )
