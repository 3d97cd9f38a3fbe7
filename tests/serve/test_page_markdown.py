"""What the page makes of a model's Markdown, in a real browser, and the libraries for it."""

import urllib.request
from pathlib import Path

import pytest

from dynexit.serve.routes.page import FOLDER

HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\n\n"
    "[a](javascript:window.hit=1) [b](data:text/html,x) <javascript:window.hit=1> "
    "[c](//other/x)\n\n"
    "![picture](http://other/x.png) **<b onclick='window.hit=1'>bold</b>**\n\n"
    "```html\n<iframe src='http://other'></iframe>\n```\n\n<style>* { display: none }</style>\n\n"
    "<form action='http://other'><input name='a'></form>\n\n- [x] done\n- [ ] not done"
)


def test_nothing_that_a_model_writes_is_run(page):
    told = page.evaluate(
        """async text => {
            const {blocksOf, elementsOf} = await import("/page/markdown.js");
            const box = document.createElement("div");
            for (const block of blocksOf(text)) box.append(elementsOf(block));
            document.body.append(box);
            for (const link of box.querySelectorAll("a[href]")) link.target = "nowhere";
            await new Promise(done => setTimeout(done, 200));
            const all = [...box.querySelectorAll("*")];
            return {
                tags: all.map(one => one.localName),
                names: all.flatMap(one => one.getAttributeNames()),
                links: [...box.querySelectorAll("a[href]")].map(one => one.getAttribute("href")),
                text: box.textContent, hit: window.hit ?? 0,
            };
        }""",
        HOSTILE,
    )
    assert told["hit"] == 0
    assert set(told["tags"]) <= {"p", "a", "strong", "pre", "code", "ul", "li"}
    assert set(told["names"]) <= {"href", "rel", "target"}
    assert told["links"] == []
    for whole in ("<script>window.hit = 1</script>", "<iframe src=", "<b onclick", "[x] done"):
        assert whole in told["text"]


MARKDOWN = (
    "# The *title*\n\nSome `code` & **bold** words, a [link](https://example.org/a_b) and "
    "3 < 4.\n\n```python\nprint('x')  # print\n    return 1\n```\n\n1. first\n2. second\n\n"
    "| a | b |\n|---|---|\n| cell | 22 |\n\n> quoted\n\nEnd: déjà vu 😀.\n"
)


STREAM = """async (text, size, every) => {
    const {Formatted} = await import("/page/formatted.js"), signs = [...text];
    const view = new Formatted(document.createElement("div"));
    const sources = ["accepted", "recovered", "bonus"];
    for (let i = 0; i < signs.length; i += size) {
        const token = {text: signs.slice(i, i + size).join(""), source: sources[i / size % 3]};
        view.add({index: i, token, round: {}});
        if (i % every === 0) view.draw();
    }
    view.end();
    return view;
}"""


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_markdown_keeps_every_tokens_colour(page, size):
    """Characters of Markdown's own are left out; each other one has the colour of its token."""
    told = page.evaluate(
        """async ([text, size]) => {
            const {box, source} = await STREAM(text, size, 5);
            const spans = [...box.querySelectorAll(".token")];
            return {
                spans: spans.map(s => [s.textContent, s.className]),
                known: spans.map(s => [s.known.token.text, `token ${s.known.token.source}`]),
                bare: box.textContent.replaceAll("Copy code", ""), source,
            };
        }""".replace("STREAM", f"({STREAM})"),
        [MARKDOWN, size],
    )
    assert told["source"] == MARKDOWN
    for (text, name), (whole, own) in zip(told["spans"], told["known"], strict=True):
        assert text.strip() in whole
        assert name == own
    coloured = "".join(text for text, _ in told["spans"])
    assert "".join(coloured.split()) == "".join(told["bare"].split())
    for words in ("The title", "print('x')  # print\n    return 1", "cell", "😀."):
        assert words in told["bare"]
    assert "**" not in told["bare"]


def test_a_text_that_streams_is_the_text_at_once(page):
    first, second = page.evaluate(
        """text => Promise.all([1, 1000].map(async size => {
            const {box} = await STREAM(text, size, 1);
            for (const span of box.querySelectorAll(".token")) span.replaceWith(span.textContent);
            for (const open of box.querySelectorAll(".open")) open.replaceWith(...open.childNodes);
            box.normalize();
            return box.innerHTML;
        }))""".replace("STREAM", f"({STREAM})"),
        MARKDOWN,
    )
    assert first == second
    assert "<h1>The <em>title</em></h1>" in first
    assert "<td>22</td>" in first


def test_libraries_come_with_their_licences(server):
    for file in (FOLDER / "vendor").glob("*.js"):
        licence = f"{server.url}/page/vendor/{file.stem}.LICENSE.txt"
        with urllib.request.urlopen(licence) as told:
            assert "icense" in told.read().decode()
    assert len(list(Path(FOLDER / "vendor").glob("*.js"))) == 2
