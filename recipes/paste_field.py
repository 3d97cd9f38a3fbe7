"""Puts the tables and figures of `recipes/field.sh OUT` into a page of the documentation.

    python recipes/paste_field.py OUT docs/field.md

What is between `<!-- begin: MODEL -->` and `<!-- end: MODEL -->` is replaced, for each model that
has a report in OUT. Figures go into `figures/` beside the page.
"""

import shutil
import sys
from pathlib import Path

SECTION = "Methods side by side"
FIGURE = "field"


def pasted(page: str, name: str, report: str) -> str:
    """The page with the report's section in its place."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    if begin not in page or end not in page:
        raise SystemExit(f"the page has no place {begin} ... {end}")
    before, rest = page.split(begin, 1)
    section = report.split(f"## {SECTION}\n", 1)[1].split("\n## ", 1)[0].strip()
    section = section.replace(f"](figures/{FIGURE}.png)", f"](figures/{FIGURE}-{name}.png)")
    return f"{before}{begin}\n\n{section}\n\n{end}{rest.split(end, 1)[1]}"


def main(out: Path, page: Path) -> None:
    """Paste every report of a folder."""
    text = page.read_text(encoding="utf-8")
    for report in sorted(out.glob("*/report.md")):
        name = report.parent.name
        text = pasted(text, name, report.read_text(encoding="utf-8"))
        for figure in (report.parent / "figures").glob(f"{FIGURE}.*"):
            shutil.copy(figure, page.parent / "figures" / f"{FIGURE}-{name}{figure.suffix}")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
