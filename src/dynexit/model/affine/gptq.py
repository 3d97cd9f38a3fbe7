"""GPTQ, as AutoGPTQ and GPTQModel write it.

Words of `qweight` [inputs * bits / 32, outputs] hold consecutive inputs, those of `qzeros`
[groups, outputs * bits / 32] consecutive outputs. The format's first version holds zero points that
are 1 less than they are. (https://github.com/ModelCloud/GPTQModel, `nn_modules/qlinear`)
"""

from dataclasses import dataclass

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
from dynexit.model.config import Section, flag, require, value_of

SKIPPED = "-:"  # before a pattern of `dynamic`: modules that are not quantised


@dataclass(frozen=True)
class Gptq(Layout):
    """The format, in which zero points of the file are so much `less`."""

    less: int = 1

    name = "GPTQ"
    mark = "qweight"
    order = "g_idx"

    def shape(self, module: Module, scheme: Scheme) -> tuple[int, int]:
        """See `Layout`."""
        rows, outputs = module.told("qweight", 2, *WORDS)
        return outputs, rows * WORD // scheme.bits

    def pieces(self, scheme: Scheme, outputs: int, inputs: int) -> dict[str, Piece]:
        """See `Layout`."""
        groups = scheme.groups(inputs)
        return {
            "qweight": Piece((scheme.words(inputs), outputs), WORDS),
            "qzeros": Piece((groups, scheme.words(outputs)), WORDS),
            "scales": Piece((groups, outputs), SCALES),
            "g_idx": Piece((inputs,), WORDS, optional=not scheme.ordered),
        }

    def unpack(self, module: Module, scheme: Scheme, outputs: int, inputs: int) -> Values:
        """See `Layout`.

        Raises:
            DynexitError: a zero point that is past the largest value.
        """
        values = unpacked(module.read("qweight").T, scheme.bits)
        zeros = unpacked(module.read("qzeros"), scheme.bits)[:, :outputs].T
        if self.less and (zeros == scheme.most).any():
            raise DynexitError(
                f"{module.name} has zero points past {scheme.most}, the largest of {scheme.bits} "
                "bits: save the checkpoint as gptq_v2, which can hold 0."
            )
        return Values(scheme.bits, values, zeros + self.less, module.read("scales").T)


def parse(settings: Section) -> Layout:
    """The format as a configuration describes it.

    Raises:
        DynexitError: settings that do not run, by name.
    """
    refuse(settings, is_marlin_format=(False,), pack_dtype=("int32",), rotation=(), adapter=())
    keys = ("checkpoint_format", "format")
    forms = {form.lower() for key in keys if (form := value_of(settings, key, str))} or {"gptq"}
    for form in forms:
        refuse({"checkpoint_format": form}, checkpoint_format=("gptq", "gptq_v2"))
    if len(forms) > 1:
        raise DynexitError("config.json: format and checkpoint_format differ.")
    if any(not key.startswith(SKIPPED) for key in value_of(settings, "dynamic", Section, {})):
        raise DynexitError("config.json: dynamic (per-module quantisation) is not supported.")
    scheme = Scheme(
        require(settings, "bits", int),
        value_of(settings, "group_size", GroupSize, 128),
        value_of(settings, "sym", bool, True),
        ordered=flag(settings, "desc_act"),
    )
    return Gptq((scheme,), less=int("gptq" in forms))
