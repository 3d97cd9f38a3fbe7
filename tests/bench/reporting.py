"""Records made by hand, with numbers that can be followed by hand."""

import dataclasses
import json
import re
from itertools import product

from dynexit.bench.passes import Limits, Point, Roofline
from dynexit.bench.records import Record
from dynexit.bench.report import writing
from dynexit.bench.report.gathering import gather
from dynexit.decoding.plans import PLAIN_STEP, Plan
from dynexit.decoding.records import Round
from dynexit.decoding.statistics import SECONDS, Statistics

LAYERS = 4
SHAPE = {"num_layers": LAYERS, "layer_parameters": 10, "head_parameters": 100, "parameters": 200}
PROMPTS = (("alpha", "a1"), ("alpha", "a2"), ("beta", "b1"))
VANILLA = {"a1": 0.8, "a2": 0.8, "b1": 1.6}
DEL = {"a1": 0.4, "a2": 0.4, "b1": 0.4}
GRID = {
    (1, 1): {"a1": 0.5, "a2": 0.5, "b1": 0.5},
    (1, 2): {"a1": 0.2, "a2": 0.7, "b1": 0.8},
    (2, 1): {"a1": 0.8, "a2": 0.4, "b1": 0.8},
    (2, 2): {"a1": 0.8, "a2": 0.8, "b1": 0.4},
}


def plain(count):
    """Rounds of vanilla."""
    return [Round(PLAIN_STEP, 0, 0, 1) for _ in range(count)]


def drafted(exit_layer, length, accepted, tokens=None, threshold=None, drafter="early-exit"):
    """One round."""
    plan = Plan(exit_layer, length, threshold, drafter)
    return Round(plan, length, accepted, accepted + 1 if tokens is None else tokens)


def timed(rounds, seconds, shares=(0.25, 0.65, 0.05, 0.05)):
    """The same rounds, with equal parts of `seconds` for draft, verify, controller and text."""
    parts = [seconds * share / len(rounds) for share in shares]
    return [Round(**{**vars(r), **dict(zip(SECONDS, parts, strict=True))}) for r in rounds]


def record(task, example, method, rounds, seconds, token_ids=None, **fields):
    """A finished generation; its text is prefill's token and those of the rounds."""
    stats = Statistics(LAYERS, timed(rounds, seconds), 0.05, seconds)
    ids = list(range(stats.tokens + 1)) if token_ids is None else token_ids
    defaults = {
        "model": "tiny",
        "token_ids": ids,
        "stats": stats.as_dict(),
        "peak_memory": 3_000_000,
        "shape": SHAPE,
        "options": {"max_new_tokens": 9},
    }
    return Record(task=task, example=example, method=method, **{**defaults, **fields})


def fixed(exit_layer, length, tokens=8):
    """Rounds that accept everything, as many as `tokens` take."""
    return [
        drafted(exit_layer, length, length, min(length + 1, tokens - start))
        for start in range(0, tokens, length + 1)
    ]


def vanilla_records(**fields):
    """10 tokens/s on alpha, 5 on beta: 8 tokens after prefill's."""
    return [record(task, e, "vanilla", plain(8), VANILLA[e], **fields) for task, e in PROMPTS]


def del_records(method="del", **fields):
    """20 tokens/s everywhere, in two rounds: exit layer 2, then 1; three drafts each."""
    rounds = [drafted(2, 3, 3, threshold=0.5), drafted(1, 3, 3, threshold=0.7)]
    return [record(task, e, method, rounds, DEL[e], **fields) for task, e in PROMPTS]


def grid_records():
    """Four fixed pairs."""
    return [
        record(
            task, e, f"layerskip:exit_layer={layer},speculation_length={d}", fixed(layer, d), s[e]
        )
        for ((layer, d), s), (task, e) in product(GRID.items(), PROMPTS)
    ]


def all_records():
    """Vanilla, DEL and a grid, on three prompts of two tasks."""
    return [*vanilla_records(), *del_records(), *grid_records()]


def two_models():
    """The same for two models, of which the second lies in a folder."""
    second = [dataclasses.replace(r, model="/home/ann/models/other") for r in all_records()]
    return [*all_records(), *second]


def study_of(records):
    """The only study of these records."""
    (study,) = gather(records).studies
    return study


def write(path, records):
    """A file as `dynexit bench` writes it."""
    path.write_text("".join(r.as_line() for r in records))
    return path


def point(rows, context, layers_ms, head_ms):
    """11 MB that 100 positions read, and little arithmetic: 1.1 ms at 10 GB/s."""
    moved = 9_900_000 + 1_000 * context
    return Point(rows, context, layers_ms, head_ms, moved, 1_000_000, 1_000_000 * rows, 1)


def roofline(**fields):
    """One model, two contexts, rows out of order."""
    points = [point(4, 100, 1.5, 0.5), point(1, 100, 1.25, 0.125), point(1, 200, 1.25, 0.25)]
    machine = {"dtype": "bfloat16", "runtime": "native, avx2", "threads": 2}
    before, after = Limits(8.0, 10.0, 20.0), Limits(9.0, 5.0, 40.0)
    found = Roofline("tiny", LAYERS, machine, 11_000_000, None, before, after, points)
    return dataclasses.replace(found, **fields)


def write_roofline(path, found):
    """A file of what `dynexit roofline --json` prints."""
    path.write_text(json.dumps(found.as_dict()))
    return path


def text_of(records):
    """The markdown, without any figure."""
    return writing.markdown_of(gather(records), [], [])


def tables(markdown):
    """{heading: its tables}, each a list of rows of cells."""
    found = {}
    for part in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        blocks = [block for block in text.strip().split("\n\n") if block.startswith("|")]
        found[heading] = [
            [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks
        ]
    return {
        heading: [[[cell.strip() for cell in row] for row in one] for one in several]
        for heading, several in found.items()
    }


def row_of(table, name):
    """{heading: cell} of the row that begins with `name`."""
    (row,) = [row for row in table if row[0].strip("`") == name]
    return {
        heading.strip("`"): cell.strip("*") for heading, cell in zip(table[0], row, strict=True)
    }
