"""What checks in between and several exits in one draft would be worth, by a trace: no model runs.

    python benchmarks/hierarchy.py TRACE COSTS

TRACE is of `dynexit trace`, COSTS of `dynexit replay --save-cost`. Chains only, with the trimmed
head. Printed is the best of each family over a grid of its settings, against plain decoding:

- pair: LayerSkip's (exit layer, length), with a threshold of confidence (also none).
- hierarchy: HiSpec (arXiv 2510.01336). A lower exit drafts, a higher one checks these rows in one
  pass and gives its own token after them, again and again until so many tokens wait for the whole
  model. The published setting is also printed: an eighth, a quarter, four tokens.
- bounded: SpecBound (arXiv 2604.12247). A token leaves at the first layer whose confidence at that
  layer's temperature, 1 + a (1 - layer / L), passes a threshold; one that passes none by a bound
  ends the draft. a = 0 is the same without temperatures.

After a mismatch, what layers would say is taken from the same position of the recorded text.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from dynexit.decoding.costs import Costs
from dynexit.plain import parse_json
from dynexit.replay.trace import TracedText, load_trace

Round = Callable[["Text", int], tuple[int, float]]  # at a position: tokens, seconds
LENGTHS, THRESHOLDS = (1, 2, 3, 4, 6, 8), (0.0, 0.3, 0.5, 0.7, 0.9)
CHEAP = (1, 2, 4, 8, 16), (1.0, 1.01, 1.02, 1.04, 1.1)  # rows, and what a pass of them takes


class Text:
    """What each layer says at each position of a text, and how sure it is."""

    def __init__(self, traced: TracedText) -> None:
        skip = traced.prompt_length - 1 - traced.first
        self.said = traced.trimmed[:, skip:, 0].tolist()
        self._sure = traced.trimmed_confidence[:, skip:].astype(np.float64)  # of eight tokens
        target = traced.best[-1, skip:, 0]
        self._right = (traced.trimmed[:, skip:, 0] == target).tolist()
        self.length = len(target)
        self._confidences: dict[float, list[list[float]]] = {}

    def right(self, layer: int, position: int) -> bool:
        return bool(self._right[layer - 1][position])

    def confidence(self, layer: int, position: int, alpha: float) -> float:
        """At the layer's temperature, of the eight best tokens and the rest as one."""
        if alpha not in self._confidences:
            depth = len(self._sure)
            heat = 1.0 + alpha * (1.0 - np.arange(1, depth + 1) / depth)
            rest = np.maximum(1.0 - self._sure.sum(-1, keepdims=True), 1e-9)
            kept = np.concatenate((self._sure, rest), -1) ** (1.0 / heat)[:, None, None]
            self._confidences[alpha] = (kept[..., 0] / kept.sum(-1)).tolist()
        return self._confidences[alpha][layer - 1][position]


class Prices:
    """Seconds of the parts of a round."""

    def __init__(self, costs: Costs, layers: int, trimmed: int) -> None:
        self.costs, self.layers, self.trimmed = costs, layers, trimmed
        self.head = cache(lambda rows: costs.unembed(rows, trimmed))
        self.run = cache(costs.layers)
        self.draft = cache(costs.draft)

    def drafted(self, layer: int, tokens: int) -> float:
        """Rows by the first layers, one after the other, and the head for all but the last."""
        rows = (tokens + 1) * self.draft(layer)
        return self.costs.draft_start(layer) + rows + tokens * self.head(1)

    def verified(self, start: int, rows: int) -> float:
        c = self.costs
        return c.round + self.run(self.layers - start, rows) + c.unembed(rows)


def accepted(right: list[bool]) -> int:
    """Tokens before the first wrong one."""
    return right.index(False) if False in right else len(right)


def pair(prices: Prices, layer: int, length: int, threshold: float) -> Round:
    def round_at(text: Text, at: int) -> tuple[int, float]:
        count = min(length, text.length - at - 1)
        for drafted in range(count):
            if text.confidence(layer, at + drafted, 0.0) < threshold:
                count = drafted + 1
                break
        right = [text.right(layer, at + i) for i in range(count)]
        seconds = prices.drafted(layer, count) if count else 0.0
        return accepted(right) + 1, seconds + prices.verified(layer if count else 0, count + 1)

    return round_at


def hierarchy(prices: Prices, low: int, high: int, length: int, wanted: int) -> Round:
    def round_at(text: Text, at: int) -> tuple[int, float]:
        right: list[bool] = []
        seconds, room = 0.0, text.length - at - 1
        while len(right) < min(wanted, room):
            begin, count = at + len(right), min(length, room - len(right))
            low_said = [text.said[low - 1][begin + i] for i in range(count)]
            high_said = [text.said[high - 1][begin + i] for i in range(count + 1)]
            same = accepted([a == b for a, b in zip(low_said, high_said, strict=False)])
            right += [text.right(high, begin + i) for i in range(min(same + 1, room - len(right)))]
            seconds += prices.drafted(low, count) + prices.head(count + 1)
            seconds += prices.run(high - low, count + 1)
        kept, last = right, prices.run(high, 1)  # the row of the checker's last token
        return accepted(kept) + 1, seconds + last + prices.verified(high, len(kept) + 1)

    return round_at


def bounded(
    prices: Prices, bound: int, length: int, threshold: float, alpha: float, every: int
) -> Round:
    def round_at(text: Text, at: int) -> tuple[int, float]:
        right: list[bool] = []
        seconds, deepest = 0.0, 0
        for place in range(at, at + min(length, text.length - at - 1)):
            for layer in range(every, bound + 1, every):
                before = prices.draft(layer - every) if layer > every else 0.0
                seconds += prices.draft(layer) - before
                seconds += prices.head(1)
                deepest = max(deepest, layer)
                if text.confidence(layer, place, alpha) >= threshold:
                    right.append(text.right(layer, place))
                    break
            else:
                break
        rows = len(right) + 1  # those of tokens that left early catch up in one pass
        seconds += prices.run(bound - every, rows) if deepest else 0.0
        return accepted(right) + 1, seconds + prices.verified(bound if deepest else 0, rows)

    return round_at


def speed(texts: list[Text], make: Round) -> tuple[float, float]:
    """Tokens a second, and a round."""
    tokens, seconds, rounds = 0, 0.0, 0
    for text in texts:
        at = 0
        while at < text.length - 1:
            got, took = make(text, at)
            at, tokens, seconds, rounds = at + got, tokens + got, seconds + took, rounds + 1
    return tokens / seconds, tokens / rounds


def families(prices: Prices) -> Iterator[tuple[str, str, Round]]:
    depth = prices.layers
    eighth, quarter = max(1, depth // 8), max(2, depth // 4)
    for layer, length, threshold in product(range(1, depth // 2 + 1), LENGTHS, THRESHOLDS):
        kind = "pair with a threshold" if threshold else "pair"
        yield kind, f"{layer}, {length}, {threshold}", pair(prices, layer, length, threshold)
    for low, high, length, wanted in product(
        range(1, depth // 4 + 1), range(2, depth // 2 + 3), (1, 2, 3), (2, 3, 4, 6)
    ):
        if low < high:
            made = hierarchy(prices, low, high, length, wanted)
            yield "hierarchy", f"{low}, {high}, {length}, {wanted}", made
    published = hierarchy(prices, eighth, quarter, 4, 4)
    yield "hierarchy as published", f"{eighth}, {quarter}, 4, 4", published
    for bound, length, threshold, alpha, every in product(
        (3, 4, 6, 8, 10), (2, 4, 6), (0.4, 0.6, 0.8), (0.0, 0.5, 1.0), (1, 2, 3)
    ):
        if every <= bound:
            made = bounded(prices, bound, length, threshold, alpha, every)
            kind = "bounded with temperatures" if alpha else "bounded"
            yield kind, f"{bound}, {length}, {threshold}, {alpha}, every {every}", made


def cheap_rows(costs: Costs) -> Costs:
    """As a GPU has it at the 1B shape: rows cost next to nothing, and a head of 4.3 layers."""
    widths, layer = CHEAP
    head = tuple(4.3 * one for one in layer)
    return Costs(
        widths, layer, head, (0.1,) * len(layer), 1.0, (0.0,) * len(layer), 0.5, costs.vocabulary
    )


def main(trace: str, file: str) -> None:
    recorded = load_trace(Path(trace))
    measured = Costs.from_dict(parse_json(Path(file).read_text(), file))
    texts = [Text(one) for one in recorded.texts]
    trains, judges = texts[::2], texts[1::2]  # settings are chosen on the one half
    for name, costs in (("measured", measured), ("cheap rows", cheap_rows(measured))):
        prices = Prices(costs, recorded.info.num_layers, recorded.info.draft_vocabulary)
        plain = 1.0 / prices.verified(0, 1)
        best: dict[str, tuple[float, str, Round]] = {}
        for family, said, made in families(prices):
            found = speed(trains, made)[0] / plain
            if found > best.get(family, (0.0, "", made))[0]:
                best[family] = found, said, made
        for family, (_, said, made) in best.items():
            faster, tokens = speed(judges, made)
            sys.stdout.write(
                f"{name}: {family} ({said}): {faster / plain:.2f}x, {tokens:.2f} tokens a round\n"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
