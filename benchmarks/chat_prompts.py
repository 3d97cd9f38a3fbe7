"""Prompts for a chat model, a file of JSON lines a domain, for `dynexit bench --task jsonl:FILE`.

    python benchmarks/chat_prompts.py MODEL DATA_DIR OUT

Twenty of each benchmark in DATA_DIR, drawn with a fixed seed, and the 50 instructions beside this
file; all put through MODEL's chat template. `dynexit learn` has seen none of them.
"""

import json
import sys
from pathlib import Path
from random import Random

import dynexit
from dynexit.tasks.rows import read_file

COUNT, SEED, MOST = 20, 11, 1_500  # prompts a domain, and characters of a text that is quoted
DOMAINS = {
    "problems": ("gsm8k_test.jsonl", "{question}"),
    "translation": ("wmt14_de_en_test.jsonl", "Translate into English: {de}"),
    "python": ("HumanEval.jsonl.gz", "Complete this Python function:\n{prompt}"),
    "summaries": ("xsum_test.jsonl", "Summarise this text in two sentences:\n{document}"),
    "stories": ("cnn_dailymail_test.jsonl", "Go on with this report:\n{article}"),
}


def prompts_of(data: Path) -> dict[str, list[str]]:
    made = {}
    for domain, (file, form) in DOMAINS.items():
        rows = Random(SEED).sample(list(read_file(data / file)), COUNT)
        told = ({**row, **row.get("translation", {})} for row in rows)
        made[domain] = [
            form.format(**{name: str(value)[:MOST] for name, value in row.items()}) for row in told
        ]
    own = Path(__file__).with_name("held_out_instructions.txt").read_text(encoding="utf-8")
    return {**made, "instructions": own.splitlines()}


def main(model: str, data: str, out: str) -> None:
    tokenizer = dynexit.load(model, check=False).tokenizer
    Path(out).mkdir(parents=True, exist_ok=True)
    for domain, prompts in prompts_of(Path(data)).items():
        lines = (
            json.dumps({"prompt": tokenizer.render_chat([{"role": "user", "content": prompt}])})
            for prompt in prompts
        )
        (Path(out) / f"{domain}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
