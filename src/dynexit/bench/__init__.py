"""Benchmarks: run, time, record (JSON lines), sweep, check, report.

Speed is never measured in a test. It is measured here, in pairs with vanilla, and recorded.
"""
