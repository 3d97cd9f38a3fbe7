"""Passes over long contexts: what they take, and what the table of costs says.

    python benchmarks/contexts.py MODEL [CONTEXTS] [ROWS] [TIMES]

Such as `python benchmarks/contexts.py 1b.gguf 256,2048,8192,16384 1,2,4,8 6`. Caches are filled as
in `windows.py`. Milliseconds: measured, by the table, and by one price of a position for all rows
of a pass, as it was before every number of rows had its own; and each one's error.
"""

import sys
from dataclasses import replace

from windows import filled, timed

import dynexit


def main(
    name: str, contexts: str = "256,2048,8192", rows: str = "1,2,4,8", times: str = "6"
) -> None:
    lm = dynexit.load(name, check=False)
    costs, depth, asked = lm.costs, lm.num_layers, [*map(int, contexts.split(","))]
    one_price = replace(costs, position=costs.position[:1] * len(costs.widths))
    cache = filled(lm.model, max(asked))
    for context in asked:
        cache.length = context
        for count in map(int, rows.split(",")):
            took = timed(lm.model, [cache], count, None, False, int(times))
            told = [
                1e3 * (table.at(context).layers(depth, count) + table.unembed(count))
                for table in (costs, one_price)
            ]
            said, one = (f"{each:.1f} ({each / took - 1:+.0%})" for each in told)
            sys.stdout.write(
                f"{context} positions, {count} rows: {took:.1f} ms, table {said}, one price {one}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
