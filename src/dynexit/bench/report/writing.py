"""From files of records to a folder with report.md, report.html and figures/.

The page stands alone: figures inside, no scripts, no network.
"""

import base64
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from dynexit.bench.passes import read_roofline
from dynexit.bench.records import Record, read_records
from dynexit.bench.report.figures import Drawn, Figure, draw_all, figures
from dynexit.bench.report.gathering import gather
from dynexit.bench.report.sections import SECTIONS
from dynexit.bench.report.sections.texts import origin
from dynexit.bench.report.study import Evidence
from dynexit.bench.report.wording import bullets, code, counted, model_label, prompt_label, table
from dynexit.errors import DynexitError, reason

TITLE = "Speed of early-exit self-speculation"
MARKDOWN, HTML, FIGURES = "report.md", "report.html", "figures"
KINDS = (".svg", ".png")
FAILURES_SHOWN = 20
ERROR_LENGTH = 160  # characters
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1a1a1a;
       background: #fff; max-width: 70rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
h2 { border-bottom: 1px solid #d9d9d9; padding-bottom: .2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
table { border-top: 2px solid #1a1a1a; border-bottom: 2px solid #1a1a1a; margin: .5rem 0; }
th { border-bottom: 1px solid #1a1a1a; vertical-align: bottom; font-weight: 600; }
th, td { padding: .25rem .7rem .25rem 0; white-space: nowrap; text-align: left; }
th { white-space: normal; } td:nth-child(n+2) { padding-left: .7rem; }
code { font: .92em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
img { display: block; width: 100%; max-width: 700px; height: auto; margin: 1rem 0 .25rem; }
em { color: #555; font-size: .9rem; }
@media print { body { max-width: none; margin: 0; } table, img { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Written:
    """What a report was made of, and of how much."""

    folder: Path
    records: int
    figures: int
    failed: int
    unpaired: int


def write_report(files: Sequence[Path], out: Path, rooflines: Sequence[Path] = ()) -> Written:
    """Read records, and rooflines measured beside them; write their report into the folder `out`.

    Nothing there changes until the report is whole. Then an older report is replaced; what else
    lies in `out` stays as it is.

    Raises:
        DynexitError: files that hold nothing to report, or a folder that cannot be written.
    """
    passes = [read_roofline(file) for file in rooflines]
    evidence = replace(gather(read_records(files)), rooflines=passes)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
            drawn = _write(evidence, Path(folder))
            _move(Path(folder), out)
    except OSError as error:
        raise DynexitError(f"cannot write {out}: {reason(error)}.") from error
    return Written(
        out, len(evidence.generations), len(drawn), len(evidence.failed), len(evidence.unpaired)
    )


def _write(evidence: Evidence, folder: Path) -> list[Drawn]:
    (folder / FIGURES).mkdir()
    known = figures()
    made = {figure.name: draw_all(figure, evidence, folder / FIGURES) for figure in known}
    drawn = [one for found in made.values() for one in found]
    missing = [figure for figure in known if not made[figure.name]]
    markdown = markdown_of(evidence, drawn, missing)
    images = {_address(one): (folder / FIGURES / f"{one.name}.svg").read_bytes() for one in drawn}
    (folder / MARKDOWN).write_text(markdown, encoding="utf-8")
    (folder / HTML).write_text(page(markdown, TITLE, images), encoding="utf-8")
    return drawn


def markdown_of(evidence: Evidence, drawn: Sequence[Drawn], missing: Sequence[Figure]) -> str:
    """The report's text: all sections, the figures that were drawn, and what was left out."""
    return "\n\n".join(_blocks(evidence, drawn, missing)) + "\n"


def _blocks(evidence: Evidence, drawn: Sequence[Drawn], missing: Sequence[Figure]) -> Iterator[str]:
    yield f"# {TITLE}"
    yield origin(evidence)
    for section in SECTIONS:
        own = [one for one in drawn if one.figure.section == section.title]
        blocks = list(section.write(evidence))
        if blocks or own:
            yield f"## {section.title}"
            yield from blocks
            yield from (block for one in own for block in _shown(one))
    left_out = list(_left_out(evidence, missing))
    if left_out:
        yield "## Left out"
        yield from left_out


def page(markdown: str, title: str, images: Mapping[str, bytes]) -> str:
    """Markdown as one HTML page.

    Args:
        images: SVG files by the address that the markdown gives for them.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = parser.render(markdown)
    for address, svg in images.items():
        data = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
        body = body.replace(f'src="{escape(address)}"', f'src="{data}"')
    body = body.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}</body>\n</html>\n"
    )


def _shown(one: Drawn) -> Iterator[str]:
    title = one.figure.title + (f", {code(one.model)}" if one.model else "")
    yield f"![{one.figure.title}]({_address(one)})"
    yield f"*{title}.* {one.figure.caption}"


def _address(one: Drawn) -> str:
    return f"{FIGURES}/{one.name}.png"


def _left_out(evidence: Evidence, missing: Sequence[Figure]) -> Iterator[str]:
    if evidence.failed:
        yield f"{counted(len(evidence.failed), 'record')} of failures, in no number above:"
        yield _failures(evidence.failed)
    if evidence.unpaired:
        yield (
            f"{counted(len(evidence.unpaired), 'record')} without a vanilla record of the same "
            "prompt and run to compare with, in no number above."
        )
    if missing:
        yield bullets(f"No figure “{one.title}”: it takes {one.needs}." for one in missing)


def _failures(failed: Sequence[Record]) -> str:
    rows = [
        [
            code(model_label(record.model)),
            code(prompt_label(record.task, record.example)),
            code(record.method),
            code((record.error or "no statistics")[:ERROR_LENGTH]),
        ]
        for record in failed[:FAILURES_SHOWN]
    ]
    if len(failed) > FAILURES_SHOWN:
        rows.append([f"and {len(failed) - FAILURES_SHOWN} more", "", "", ""])
    return table(["model", "example", "method", "reason"], rows, left=4)


def _move(made: Path, out: Path) -> None:
    """Put a finished report in its place, and take away the figures of the older one."""
    (out / FIGURES).mkdir(parents=True, exist_ok=True)
    for name in _figures_of(out / MARKDOWN):
        for kind in KINDS:
            (out / FIGURES / f"{name}{kind}").unlink(missing_ok=True)
    for file in (*sorted((made / FIGURES).iterdir()), made / MARKDOWN, made / HTML):
        file.replace(out / file.relative_to(made))


def _figures_of(markdown: Path) -> Iterable[str]:
    """Names of the figures that a report shows; none where there is no report."""
    text = markdown.read_text(encoding="utf-8", errors="replace") if markdown.exists() else ""
    return re.findall(rf"\]\({FIGURES}/([\w.-]+)\.png\)", text)
