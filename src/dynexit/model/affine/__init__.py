"""Safetensors with a `quantization_config` whose weights are (value - zero point) * scale: GPTQ,
AWQ and compressed-tensors.

Not responsible for how quantised weights are multiplied: that is the native library's.

- `layout.py` says what such a format is, and holds a matrix's tensors against it.
- `gptq.py`, `awq.py` and `compressed_tensors.py` are the formats: settings, tensors, order of bits.
- `values.py` has a matrix out of its words: as floats, and as the native library takes it.
- `settings.py` finds the format that a configuration names.
- `weights.py` gives weights under the names of an unquantised checkpoint.
"""
