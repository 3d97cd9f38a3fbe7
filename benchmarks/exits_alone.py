"""How much exits alone gain, without lookup and table, on texts of a few words.

    python benchmarks/exits_alone.py MODEL DATA_DIR [TEXTS] [METHOD]

Begins with the first nine words of word problems (`gsm8k_test.jsonl`) and writes 24 tokens; the
method keeps what it learned from text to text. Prints the seconds of plain decoding divided by the
method's, and its rounds by exit layer (0: plain steps). To compare two versions, run it in turn in
a checkout of each: before there were tables, the method is `auto:lookup=false,carry=true`.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import dynexit
from dynexit.methods import make_controller

FIRST, WORDS, NEW = 100, 9, 24


def main(
    name: str,
    data: str,
    texts: str = "10",
    method: str = "auto:lookup=false,table=false,carry=true",
) -> None:
    lm, controller = dynexit.load(name, check=False), make_controller(method)
    assert lm.costs  # measured before anything is timed
    plain, own, exits = 0.0, 0.0, Counter()
    lines = (Path(data) / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines[FIRST : FIRST + int(texts)]:
        prompt = " ".join(json.loads(line)["question"].split()[:WORDS])
        plain += lm.generate(prompt, "vanilla", max_new_tokens=NEW).stats.decode_seconds
        stats = lm.generate(prompt, controller, max_new_tokens=NEW).stats
        own += stats.decode_seconds
        exits.update(one.plan.exit_layer if one.drafted else 0 for one in stats.rounds)
    told = ", ".join(f"{layer}: {count}" for layer, count in sorted(exits.items()))
    sys.stdout.write(f"{plain / own:.2f}x, {exits.total()} rounds, by exit {told}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
