"""Families of masked-diffusion models. They draft for another model and write no text themselves.

A file here is like one beside this folder; its `parse` sets `mask_token`.
"""
