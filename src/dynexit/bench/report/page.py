"""Markdown -> one HTML page that stands alone: figures inside, no scripts, no network."""

import base64
from collections.abc import Mapping
from html import escape

from markdown_it import MarkdownIt

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


def page(markdown: str, title: str, images: Mapping[str, bytes]) -> str:
    """The page.

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
