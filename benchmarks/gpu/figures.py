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
