"""JSON by a schema of ten fields: `auto` against plain decoding under the same masks, in turn.

    python benchmarks/structured.py [MODEL] [--method NAME] [--turns N] [--peer]

With --peer the same file also runs in llama.cpp (llama-cpp-python) with its own grammar of the
schema, whose text may differ: its masks put space elsewhere. Needs the extra `constraints`.
"""

import argparse
import json
from time import perf_counter

from rich.console import Console
from rich.table import Table

import dynexit
from dynexit.model.threads import cores

TEXT, NUMBER = {"type": "string", "maxLength": 60}, {"type": "integer", "minimum": 0}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "age": NUMBER,
        "occupation": TEXT,
        "city": TEXT,
        "country": TEXT,
        "married": {"type": "boolean"},
        "hobbies": {"type": "array", "items": TEXT, "maxItems": 3},
        "favourite_colour": {"enum": ["red", "green", "blue", "yellow"]},
        "income_per_year": {"type": "integer", "minimum": 0, "maximum": 1000000},
        "biography": {"type": "string", "maxLength": 160},
    },
    "additionalProperties": False,
}
SCHEMA["required"] = list(SCHEMA["properties"])
PEOPLE = (
    "a fisherman from Portugal",
    "a retired teacher in Chicago",
    "a young doctor who works in Kenya",
    "a violinist in Vienna",
    "an engineer who builds bridges",
    "a baker with a shop in Lyon",
)
PROMPT = "Invent a person: {}. Write the data as JSON."
LONGEST = 300


def ours(lm, method, constraint):
    def write(prompt):
        out = lm.generate(prompt, method, constraint=constraint, chat=True, max_new_tokens=LONGEST)
        return out.text, out.stats.tokens, out.stats.decode_seconds, out

    return write


def theirs(path):
    """llama.cpp's own grammar; its time is that of all tokens after the first."""
    from llama_cpp import Llama, LlamaGrammar

    llama = Llama(path, n_ctx=1024, n_threads=cores(), verbose=False)
    grammar = LlamaGrammar.from_json_schema(json.dumps(SCHEMA), verbose=False)

    def write(prompt):
        pieces, began = [], None
        stream = llama.create_chat_completion(
            [{"role": "user", "content": prompt}],
            temperature=0.0,
            max_tokens=LONGEST,
            grammar=grammar,
            stream=True,
        )
        for chunk in stream:
            if (said := chunk["choices"][0]["delta"].get("content")) is not None:
                began = began or perf_counter()
                pieces.append(said)
        return "".join(pieces), len(pieces) - 1, perf_counter() - began, None

    return write


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default=".cache/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--method", action="append")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--peer", action="store_true")
    given = parser.parse_args()
    lm, constraint = dynexit.load(given.model, check=False), dynexit.Constraint.json(SCHEMA)
    methods = ["vanilla", *(given.method or ["auto"])]
    routes = {name: ours(lm, name, constraint) for name in methods}
    if given.peer:
        routes["llama.cpp"] = theirs(given.model)
    for write in routes.values():
        write(PROMPT.format("anybody"))  # costs are measured, grammars compiled
    counted = {name: [0, 0.0, 0, 0] for name in routes}
    for _ in range(given.turns):
        for prompt in map(PROMPT.format, PEOPLE):
            texts = {name: write(prompt) for name, write in routes.items()}
            for name, (text, tokens, seconds, out) in texts.items():
                if out is not None:
                    assert text == texts["vanilla"][0], (name, prompt)
                add(counted[name], tokens, seconds, out)
                json.loads(text)
    show(counted)


def add(totals, tokens, seconds, out):
    rounds = [] if out is None else out.stats.rounds
    certain = sum(r.accepted for r in rounds if r.plan.drafter == "grammar")
    totals[:] = [
        a + b for a, b in zip(totals, (tokens, seconds, len(rounds), certain), strict=True)
    ]


def show(counted):
    plain = counted["vanilla"][0] / counted["vanilla"][1]
    table = Table("route", "tok/s", "against plain", "tokens a round", "by the grammar")
    for name, (tokens, seconds, rounds, certain) in counted.items():
        speed = tokens / seconds
        each = f"{tokens / rounds:.2f}" if rounds else "-"
        table.add_row(
            name, f"{speed:.1f}", f"{speed / plain:.2f}x", each, f"{certain / tokens:.0%}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
