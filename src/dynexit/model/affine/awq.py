"""AWQ in its GEMM layout, as AutoAWQ writes it.

Words of `qweight` [inputs, outputs / 8] and `qzeros` [groups, outputs / 8] hold eight consecutive
outputs, the even ones first. (https://github.com/casper-hansen/AutoAWQ, `modules/linear/gemm.py`)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.affine.layout import (
    SCALES,
    WORDS,
    GroupSize,
    Layout,
    Module,
    Piece,
    Scheme,
    refuse,
)
from dynexit.model.affine.values import WORD, Values, unpacked
from dynexit.model.config import Section, require, value_of

BITS = 4
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)  # in its word, of each of eight outputs


@dataclass(frozen=True)
class Awq(Layout):
    """The format."""

    name = "AWQ"
    mark = "qweight"
    order = "g_idx"

    def shape(self, module: Module, scheme: Scheme) -> tuple[int, int]:
        """See `Layout`."""
        inputs, words = module.told("qweight", 2, *WORDS)
        return words * WORD // scheme.bits, inputs

    def pieces(self, scheme: Scheme, outputs: int, inputs: int) -> dict[str, Piece]:
        """See `Layout`."""
        groups = scheme.groups(inputs)
        return {
            "qweight": Piece((inputs, scheme.words(outputs)), WORDS),
            "qzeros": Piece((groups, scheme.words(outputs)), WORDS),
            "scales": Piece((groups, outputs), SCALES),
        }

    def unpack(self, module: Module, scheme: Scheme, outputs: int, inputs: int) -> Values:
        """See `Layout`."""
        values, zeros = (_in_order(module.read(end)) for end in ("qweight", "qzeros"))
        return Values(scheme.bits, values, zeros, module.read("scales").T)


def _in_order(words: Tensor) -> Tensor:
    """[N, outputs / 8] -> [outputs, N]."""
    values = unpacked(words, BITS).unflatten(1, (-1, len(PLACES)))
    return values[..., PLACES].flatten(1).T.contiguous()


def parse(settings: Section) -> Layout:
    """The format as a configuration describes it.

    Raises:
        DynexitError: settings that do not run, by name.
    """
    for key in ("version", "format", "checkpoint_format"):
        refuse(settings, **{key: ("gemm",)})
    if value_of(settings, "backend", str) == "llm-awq":
        raise DynexitError(
            "config.json: backend is 'llm-awq', whose layout is not supported: use AutoAWQ's."
        )
    scheme = Scheme(
        require(settings, "bits", int),
        value_of(settings, "group_size", GroupSize, 128),
        symmetric=not value_of(settings, "zero_point", bool, True),
    )
    if scheme.bits != BITS:
        raise DynexitError(
            f"config.json: AWQ of {scheme.bits} bits is not supported: use {BITS} bits."
        )
    return Awq((scheme,), tuple(value_of(settings, "modules_to_not_convert", Sequence[str], ())))
