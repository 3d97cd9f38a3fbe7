"""The round loop and everything that it calls: plan, draft, verify, accept, observe.

Not responsible for layers and weights (`model/`), nor for prompts of benchmarks (`tasks/`).
"""
