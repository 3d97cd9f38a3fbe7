"""The same forward pass in C++ (`native/` in the repository), for CPUs: a segment in one call.

Not responsible for training, nor for dtypes other than bf16 and fp32: those run in PyTorch.
"""
