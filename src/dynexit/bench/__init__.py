"""Benchmarks: run, time, record (JSON lines), sweep, check, report.

What a method is worth is never measured in a test; it is measured here, in pairs, and recorded.
"""
