"""Finds the format of quantised weights that a configuration names."""

from dynexit.errors import DynexitError
from dynexit.model.affine import awq, compressed_tensors, gptq
from dynexit.model.affine.layout import Layout
from dynexit.model.config import Json, Section, value_of
from dynexit.plain import shown

SECTION = "quantization_config"
FORMATS = {"gptq": gptq.parse, "awq": awq.parse, "compressed-tensors": compressed_tensors.parse}


def layout_of(config: Json) -> Layout | None:
    """The format that a `config.json` describes; None where it says nothing of one.

    Raises:
        DynexitError: a format or settings that do not run, by name.
    """
    settings = value_of(config, SECTION, Section, {})
    if not settings:
        return None
    method = value_of(settings, "quant_method", str) or value_of(settings, "method", str, "unknown")
    if method.lower() not in FORMATS:
        raise DynexitError(
            f"weights quantised by {shown(method)} are not supported: load the original, or one "
            f"quantised by {', '.join(FORMATS)}."
        )
    return FORMATS[method.lower()](settings)
