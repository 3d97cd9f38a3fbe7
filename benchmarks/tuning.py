"""What other constants of `auto` (`controllers/tuning.py`) would be worth, on training texts.

    python benchmarks/tuning.py DATA sentences|problems|prose [--first 0] [--texts 18] [-n 128]
        [--model FILE --chat] --variant "first_lessons=(2, 4, 8); hope=1.5" ...

DATA is the folder of training texts (`gsm8k_train.jsonl`, `tatoeba_eng_deu.tsv`,
`wikitext2_valid.txt`): no benchmark judges by them. Each text runs with plain decoding, the
constants as they are, and each given variant, in turn, three times. A variant is printed with its
speed against plain decoding, by the median text and over all, and with the controller's share.
"""

import argparse
import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import dynexit
from dynexit.decoding.controllers import auto, pricing, tuning

NOW, PLAIN, TIMES = "as it is", "plain", 3


def main():
    texts = {"sentences": sentences, "problems": problems, "prose": prose}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("kind", choices=texts)
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--texts", type=int, default=18)
    parser.add_argument("-n", "--max-new-tokens", type=int, default=128)
    parser.add_argument("--model")
    parser.add_argument("--chat", action="store_true")
    given = parser.parse_args()
    found = texts[given.kind](given.data)
    random.Random(0).shuffle(found)
    lm = dynexit.load(given.model)
    options = {"max_new_tokens": given.max_new_tokens, "chat": given.chat}
    report(run(lm, found[given.first :][: given.texts], given.variant, options))


def sentences(data):
    """German sentences to translate, whose texts have some six tokens."""
    lines = (data / "tatoeba_eng_deu.tsv").read_text("utf-8").splitlines()
    german = [line.split("\t")[1] for line in lines]
    return [f"German: {each}\nEnglish:" for each in german if 15 < len(each) < 90]


def problems(data):
    """Word problems."""
    lines = (data / "gsm8k_train.jsonl").read_text("utf-8").splitlines()
    return [f"Question: {json.loads(line)['question']}\nAnswer:" for line in lines]


def prose(data):
    """Beginnings of paragraphs."""
    lines = (data / "wikitext2_valid.txt").read_text("utf-8").splitlines()
    return [line.strip()[:300] for line in lines if len(line) > 400]


def run(lm, prompts, variants, options):
    """Of each variant the runs of every text, in turn."""
    constants = {PLAIN: tuning.TUNING, NOW: tuning.TUNING}
    constants |= {variant: replace(tuning.TUNING, **read(variant)) for variant in variants}
    outputs = {name: [[] for _ in prompts] for name in constants}
    for warm in (True, False):
        for number, prompt in enumerate(prompts[:1] if warm else prompts):
            for name in [*constants] * TIMES:
                auto.TUNING = pricing.TUNING = constants[name]
                method = "vanilla" if name == PLAIN else "auto"
                out = lm.generate(prompt, method, **options)
                if not warm:
                    outputs[name][number].append(out)
    return outputs


def read(variant):
    """Constants of a variant such as `lesson=0.05; hope=1.5`."""
    pairs = (part.split("=", 1) for part in variant.split(";"))
    return {name.strip(): eval(value) for name, value in pairs}


def report(outputs):
    """A line for each variant."""
    seconds = {
        name: [median(out.stats.decode_seconds for out in runs) for runs in texts]
        for name, texts in outputs.items()
    }
    plain = seconds.pop(PLAIN)
    length = median(len(runs[0].token_ids) for runs in outputs[PLAIN])
    say(f"{len(plain)} texts, {length:.0f} tokens by the median")
    for name, own in seconds.items():
        for mine, other in zip(outputs[name], outputs[PLAIN], strict=True):
            assert mine[0].token_ids == other[0].token_ids
        rounds = [r for runs in outputs[name] for out in runs for r in out.stats.rounds]
        control = sum(r.control_seconds for r in rounds) / sum(r.seconds for r in rounds)
        typical = median(a / b for a, b in zip(plain, own, strict=True))
        whole = sum(plain) / sum(own)
        say(f"{name}: median {typical:.3f}x, all {whole:.3f}x, controller {control:.1%}")


def say(text):
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
