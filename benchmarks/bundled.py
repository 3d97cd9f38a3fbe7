"""Figures of the bundled model: transformers' generate, vanilla and DEL, on four domains.

    python benchmarks/bundled.py --data-dir DIR [--dtype bf16] [--prompts 20] [--method del]

DIR holds the benchmarks' rows in the hub's field names (gsm8k_test.jsonl, wmt14_de_en_test.jsonl,
cnn_dailymail_test.jsonl, HumanEval.jsonl.gz). Methods run in turn on every prompt, after a warm-up;
figures are medians over prompts, decoding only.
"""

import argparse
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import dynexit
from dynexit.bench.check import first_difference
from dynexit.cli.check import describe

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Domain:
    name: str
    file: str
    prompt: Callable[[dict[str, Any]], str]


DOMAINS = (
    Domain("word problems", "gsm8k_test.jsonl", lambda r: f"Question: {r['question']}\nAnswer:"),
    Domain(
        "translation",
        "wmt14_de_en_test.jsonl",
        lambda r: f"German: {r['translation']['de']}\nEnglish:",
    ),
    Domain("prose", "cnn_dailymail_test.jsonl", lambda r: " ".join(r["article"].split()[:100])),
    Domain("python", "HumanEval.jsonl.gz", lambda r: r["prompt"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--device", default=None)
    parser.add_argument("--runtime", default=None)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--method", action="append", help="may repeat [default: del]")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    arguments = parser.parse_args()
    lm = dynexit.load(
        arguments.model,
        dtype=arguments.dtype,
        device=arguments.device,
        runtime=arguments.runtime,
    )
    peer = None if arguments.no_peer else _load_peer(arguments.model, lm)
    methods = ["vanilla", *(arguments.method or ["del"])]
    console = Console(highlight=False, width=110)
    console.print(
        f"{lm.name}, {lm.model.dtype} on {lm.model.device}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {arguments.prompts} prompts a domain, "
        f"{arguments.new_tokens} new tokens"
    )
    table = Table("domain", "method", box=None)
    for heading in (
        "tok/s",
        "vs vanilla",
        "accepted",
        "tokens/round",
        "identical",
        "repeated 4-grams",
    ):
        table.add_column(heading, justify="right")
    for domain in DOMAINS:
        prompts = [domain.prompt(row) for row in _rows(arguments.data_dir / domain.file)]
        ids = [lm.tokenizer.encode(p) for p in prompts[: arguments.prompts]]
        _measure(domain.name, ids, lm, peer, methods, arguments.new_tokens, table, console)
    console.print(table)


def _rows(file: Path) -> Rows:
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _load_peer(name: str | None, lm: dynexit.LanguageModel) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM

    folder = name or dynexit.language_model.BUNDLED
    return AutoModelForCausalLM.from_pretrained(folder, dtype=lm.model.dtype).to(lm.model.device)


def _measure(name, ids, lm, peer, methods, new_tokens, table, console) -> None:
    runs: dict[str, list[dynexit.Generation]] = {method: [] for method in methods}
    speeds: dict[str, list[float]] = {method: [] for method in methods}
    peer_speeds, peer_same = [], 0
    for method in methods:
        lm.generate(ids[0], method, max_new_tokens=16)
    for prompt in ids:
        for method in methods:
            output = lm.generate(prompt, method, max_new_tokens=new_tokens)
            runs[method].append(output)
            speeds[method].append(output.stats.tokens_per_second)
        if peer is not None:
            speed, tokens = _peer_speed(peer, prompt, new_tokens, lm)
            peer_speeds.append(speed)
            peer_same += tokens == runs["vanilla"][-1].token_ids
    plain = speeds["vanilla"]
    if peer is not None:
        ratio = median(a / b for a, b in zip(peer_speeds, plain, strict=True) if b)
        cells = (
            f"{median(peer_speeds):.1f}",
            f"{ratio:.2f}x",
            "-",
            "-",
            f"{peer_same}/{len(ids)}",
            "-",
        )
        table.add_row(name, "transformers", *cells)
    for method in methods:
        table.add_row(name, method, *_cells(runs[method], speeds[method], runs["vanilla"], plain))
        for prompt, mine, theirs in zip(ids, runs[method], runs["vanilla"], strict=True):
            if mine.token_ids != theirs.token_ids:
                found = first_difference(lm, prompt, theirs.token_ids, mine.token_ids)
                console.print(f"{name}, {method}: {describe(found, lm)}")


def _cells(runs, speeds, vanilla, plain) -> list[str]:
    drafted = sum(run.stats.drafted for run in runs)
    accepted = sum(run.stats.accepted for run in runs)
    rounds = sum(len(run.stats.rounds) for run in runs)
    same = sum(a.token_ids == b.token_ids for a, b in zip(runs, vanilla, strict=True))
    return [
        f"{median(speeds):.1f}",
        f"{median(a / b for a, b in zip(speeds, plain, strict=True) if b):.2f}x",
        f"{accepted / drafted:.0%}" if drafted else "-",
        f"{1 + accepted / rounds:.2f}" if rounds else "-",
        f"{same}/{len(runs)}",
        f"{_repeated([run.token_ids for run in runs]):.0%}",
    ]


def _repeated(texts: list[list[int]], size: int = 4) -> float:
    """Share of 4-grams that stood earlier in the same text."""
    grams = [Counter(zip(*(t[i:] for i in range(size)), strict=False)) for t in texts]
    total = sum(sum(count.values()) for count in grams)
    return sum(sum(count.values()) - len(count) for count in grams) / max(total, 1)


def _peer_speed(peer, prompt, new_tokens, lm) -> tuple[float, list[int]]:
    """Tokens per second of decoding: the time beyond that of one token."""
    inputs = torch.tensor([prompt], device=peer.device)
    seconds = []
    for count in (1, new_tokens):
        began = perf_counter()
        out = peer.generate(
            inputs, attention_mask=torch.ones_like(inputs), do_sample=False, max_new_tokens=count
        )
        seconds.append(perf_counter() - began)
    tokens = [t for t in out[0, len(prompt) :].tolist() if t not in lm.eos]
    return (len(tokens) - 1) / max(seconds[1] - seconds[0], 1e-9), tokens


if __name__ == "__main__":
    main()
