"""AQuA-RAT: algebraic word problems with five options, asked after worked examples."""

import re
from typing import Any

from dynexit.tasks.base import Task, Template, before
from dynexit.tasks.rows import Hub, Row

LETTERS = "abcde"
LABEL = re.compile(r"^\s*[A-Ea-e]\s*\)\s*")  # "A)12" -> "12"
# The surest first: "answer is (b)", "Answer: B.", "(b)" anywhere, a line that is a letter.
ANSWERS = (
    re.compile(r"answer is:?\s*\(([a-e])\)", re.IGNORECASE),
    re.compile(
        r"(?:answer|option)(?: is)?\s*[:=]?\s*\(?([a-e])(?:[).,]|\s*$)",
        re.IGNORECASE | re.MULTILINE,
    ),
    re.compile(r"\(([a-e])\)", re.IGNORECASE),
    re.compile(r"^\s*([a-e])[).]?\s*$", re.IGNORECASE | re.MULTILINE),
)
SHOTS = (
    "Q: The price of a coat rises from $80 to $92. By what percentage does it rise? "
    "Options: (a) 12% (b) 15% (c) 18% (d) 20% (e) 25%\n"
    "A: The price rises by 92 - 80 = 12 dollars. As a share of the old price this is "
    "12 / 80 = 0.15, which is 15%. So the answer is (b).",
    "Q: A train that is 150 metres long passes a signal post in 6 seconds. How fast is it, in "
    "kilometres per hour? Options: (a) 25 (b) 54 (c) 72 (d) 80 (e) 90\n"
    "A: The train moves by its own length, 150 metres, in 6 seconds: 150 / 6 = 25 metres per "
    "second. That is 25 * 3.6 = 90 kilometres per hour. So the answer is (e).",
    "Q: One pump fills a tank in 6 hours, another one in 12 hours. How long do both take "
    "together? Options: (a) 3 hours (b) 3.5 hours (c) 4 hours (d) 5 hours (e) 9 hours\n"
    "A: In an hour both fill 1/6 + 1/12 = 3/12 = 1/4 of the tank. The whole tank takes 4 hours. "
    "So the answer is (c).",
    "Q: A box holds 4 red and 6 blue balls. Two are taken out, one after the other. How likely is "
    "it that both are red? Options: (a) 2/15 (b) 4/25 (c) 1/6 (d) 1/5 (e) 2/5\n"
    "A: The first ball is red with probability 4/10, the second then with 3/9. Together this is "
    "12/90 = 2/15. So the answer is (a).",
    "Q: Three even numbers in a row add up to 78. Which is the largest of them? "
    "Options: (a) 22 (b) 24 (c) 26 (d) 28 (e) 30\n"
    "A: Call the middle number x. Then (x - 2) + x + (x + 2) = 3x = 78, so x = 26, and the "
    "largest number is 26 + 2 = 28. So the answer is (d).",
)


class AquaRat(Task):
    """exact_match: 1.0 where the letter is the right one."""

    name = "aqua_rat"
    hub = Hub("deepmind/aqua_rat", "raw", "test")
    file = "aqua_rat_test"
    fields = ("question", "correct")
    default_shots = len(SHOTS)
    own_shots = SHOTS

    def question(self, row: Row, template: Template) -> str:
        """The published form, which has a cue."""
        options = (LABEL.sub("", option) for option in row["options"])
        listed = " ".join(f"({letter}) {o}" for letter, o in zip(LETTERS, options, strict=False))
        return f"Q: {row['question']} Options: {listed}\nA:"

    def reference(self, row: Row) -> str:
        """The right letter."""
        return str(row["correct"]).lower()

    def fault(self, row: Row) -> str | None:
        """Also options that are none, or a letter that none of them has."""
        return super().fault(row) or _fault_of_options(row)

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Compares the letter that the text settles on."""
        return {"exact_match": float(chosen_letter(text) == reference)}


def _fault_of_options(row: Row) -> str | None:
    options = row.get("options")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return "has no field 'options' that is a list of texts"
    letters = LETTERS[: len(options)].upper()
    return None if row["correct"] in tuple(letters) else f"needs 'correct' to be one of {letters}"


def chosen_letter(text: str) -> str | None:
    """The option that the first answer of `text` settles on: the last one of the surest kind."""
    answer = before(text, "Q:")
    found = next((letters for kind in ANSWERS if (letters := kind.findall(answer))), None)
    return found[-1].lower() if found else None


TASK = AquaRat
