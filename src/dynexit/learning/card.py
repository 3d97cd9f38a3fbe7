"""The card of a learned folder: what it is, from which model, and its results on held-out texts."""

from collections.abc import Sequence

from dynexit.decoding.successors import SuccessorTable
from dynexit.learning.learned import About, Figures, Prediction
from dynexit.learning.prompts import JUDGES

HEAD = """\
# What {model} says next

Made by `dynexit learn` ({made_by}) of text that the model itself wrote, for drafts that the model
then verifies: its output stays what it was. It fits the weights with the fingerprint
`{fingerprint}`, and no others.

- `learned.safetensors`: a table of {contexts} contexts of one to three tokens with up to {width}
  likely successors each ({bytes} bytes), and the model's {frequent} most frequent tokens.
- Learned of {tokens} tokens in {texts} texts of up to {longest} new tokens, to built-in
  prompts{own}{chat}; half of them greedy, half drawn at temperatures of 0.7 to 1.

## Held-out prompts, greedy texts

How often the table's best token, or one of its best three, is the model's next one; how often the
longest known context has three, two, one or no tokens, and how often its best token is then right.
A context that says what a shorter one says is left out: long ones are the difficult places.{judges}

| prompts | tokens | best | best three | three | two | one | none |
|---|---:|---:|---:|---:|---:|---:|---:|
"""
COVERED = """
## Frequent tokens

Share of held-out tokens that are among the most frequent ones of its own text.

| tokens | share |
|---:|---:|
"""
PREDICTED = """
## Predicted speed

Drafts by lookup and from this table against plain decoding: held-out texts replayed at what passes
cost on {processor}, without the time between passes. Drafts by early exits are not among them.

| prompts | speedup |
|---|---:|
"""
EXITS = """
## Early exits

Share of held-out tokens where an exit of so many layers chooses what the last layer does.

| layers | agreement |
|---:|---:|
"""


def card(table: SuccessorTable, frequent: int, about: About) -> str:
    """The text of README.md."""
    recipe = about.recipe
    text = HEAD.format(
        model=about.model,
        made_by=about.made_by,
        fingerprint=about.fingerprint,
        contexts=f"{len(table):,}",
        width=table.tokens.shape[1],
        bytes=f"{table.num_bytes:,}",
        frequent=f"{frequent:,}",
        tokens=f"{recipe.tokens:,}",
        texts=f"{recipe.texts:,}",
        longest=recipe.longest,
        own=f" and {recipe.own_prompts} others" if recipe.own_prompts else "",
        judges="\n`judges` are prompts that no template made." if JUDGES in about.held_out else "",
        chat=", most of them through its chat template" if recipe.chat else "",
    )
    text += "".join(map(_line, about.held_out, about.held_out.values()))
    if about.covered:
        text += COVERED
        text += "".join(f"| {size} | {share:.1%} |\n" for size, share in about.covered.items())
    return text if about.prediction is None else text + _predicted(about.prediction)


def _predicted(prediction: Prediction) -> str:
    text = PREDICTED.format(processor=prediction.processor)
    text += "".join(f"| {name} | {gain:.2f}x |\n" for name, gain in prediction.speedup.items())
    agreement = prediction.agreement
    rows = (f"| {layer} | {agreement[layer - 1]:.1%} |\n" for layer in _eighths(agreement))
    return text + EXITS + "".join(rows)


def _eighths(agreement: Sequence[float]) -> list[int]:
    """Exits at every eighth of the depth."""
    depth = len(agreement) + 1
    return sorted({max(depth * part // 8, 1) for part in range(1, 8)})


def _line(name: str, figures: Figures) -> str:
    count = max(figures.positions, 1)
    told = [f"{figures.best / count:.1%}", f"{figures.best_three / count:.1%}"]
    for order in (3, 2, 1, 0):
        stood, right = figures.orders[order], figures.right[order]
        share = f"{stood / count:.1%}"
        told.append(f"{share} ({right / stood:.0%})" if right else share)
    return f"| {name} | {figures.positions:,} | {' | '.join(told)} |\n"
