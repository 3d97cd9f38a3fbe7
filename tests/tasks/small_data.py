"""A few rows of every benchmark, in the field names of its data set, and files of them."""

import gzip
import json

ROWS = {
    "gsm8k_test": [
        {
            "question": f"Add {n} and 1.",
            "answer": f"{n} + 1 = <<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}",
        }
        for n in range(6)
    ],
    "aqua_rat_test": [
        {
            "question": f"How much is {n} - 1?",
            "options": [f"{letter}){n - 1 + i}" for i, letter in enumerate("ABCDE")],
            "rationale": "Count down.",
            "correct": "A",
        }
        for n in range(6)
    ],
    "HumanEval": [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": f'def add(a):\n    """ Add {n} to a. """\n',
            "entry_point": "add",
            "canonical_solution": f"    return a + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == 1 + {n}\n",
        }
        for n in range(6)
    ],
    "cnn_dailymail_test": [
        {"article": " ".join(f"w{n}.{i}" for i in range(98 + n)), "highlights": f"Short {n}.\nEnd."}
        for n in range(6)
    ],
    "xsum_test": [{"document": f"Long text {n}.", "summary": f"Text {n}."} for n in range(6)],
    "wmt14_de_en_test": [
        {"translation": {"de": f"Ein Satz Nummer {n} .", "en": f"A sentence number {n} ."}}
        for n in range(6)
    ],
    "speed_bench": [
        {"question_id": f"q{n}", "category": "qa" if n % 2 else "math", "turns": [f"What is {n}?"]}
        for n in range(6)
    ],
}
PROMPTS = [{"prompt": f"Say {n}:", "reference": str(n)} for n in range(6)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder, stem):
    """The file of a benchmark, gzipped where its original is."""
    text = lines(ROWS[stem]).encode()
    if stem == "HumanEval":
        (folder / f"{stem}.jsonl.gz").write_bytes(gzip.compress(text))
    else:
        (folder / f"{stem}.jsonl").write_bytes(text)
