"""Figures of what the other parts have found, where matplotlib is installed."""

from importlib.util import find_spec
from typing import Any

from gpu.part import Part


def run(part: Part) -> None:
    if find_spec("matplotlib") is None:
        part.put("matplotlib is not installed", "error")
        return
    found = part.results.values["parts"]
    for name, shape in found.get("passes", {}).get("shapes", {}).items():
        if times := shape.get("times"):
            _draw_passes(part, name, times)
    for name, shape in found.get("methods", {}).get("shapes", {}).items():
        if methods := shape.get("graphs", {}).get("methods"):
            _draw_methods(part, name, methods)


def _draw_passes(part: Part, name: str, times: dict[str, Any]) -> None:
    """Milliseconds of a pass by its number of rows: launching it dashed, all of it solid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    widths = {int(what.split()[0]): one for what, one in times.items() if what.endswith(" rows")}
    for runtime in ("eager", "graphs"):
        points = [(rows, one[runtime]) for rows, one in widths.items() if runtime in one]
        if not points:
            continue
        rows = [row for row, _ in points]
        (line,) = axes.plot(rows, [t["done_ms"] for _, t in points], "o-", label=runtime)
        launched = [t["launch_ms"] for _, t in points]
        axes.plot(rows, launched, "--", color=line.get_color(), label=f"{runtime}, launching")
    axes.set(xlabel="rows", ylabel="ms", title=f"{name}: a pass", ylim=(0, None))
    axes.set_xscale("log", base=2)
    axes.legend()
    figure.savefig(part.folder / f"passes-{name}.png", dpi=150)


def _draw_methods(part: Part, name: str, methods: dict[str, Any]) -> None:
    """Where a token's time goes, by method; its bar is as long as the mean token took."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(methods) + 1.2), layout="constrained")
    axes = figure.subplots()
    labels = [f"{method} ({one['speedup']:.2f}x)" for method, one in methods.items()]
    lefts = [0.0] * len(labels)
    for phase in ("draft", "verify", "control", "text"):
        widths = [one["round_ms"][phase] / one["tokens_per_round"] for one in methods.values()]
        axes.barh(labels, widths, left=lefts, label=phase)
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="ms a token", title=f"{name}: methods on recorded passes")
    axes.legend()
    figure.savefig(part.folder / f"methods-{name}.png", dpi=150)
