"""The prompts, letter by letter."""

import re

import pytest
from small_data import ROWS, lines

from dynexit.errors import DynexitError
from dynexit.tasks import load_examples, make_task
from dynexit.tasks.aqua_rat import LETTERS, SHOTS
from dynexit.tasks.base import shuffled
from dynexit.tasks.wmt14_de_en import INSTRUCTION

GERMAN = "German: Ein Satz Nummer {} ."


def prompts(name, row, template, shots=0):
    """The prompt of one row; before it, worked examples of the rows that follow."""
    task = make_task(name)
    rows = ROWS[task.file]
    examples = task.examples(rows, None, shots, template, 0)
    return next(e.prompt for e in examples if e.id in (f"{name}-{row}", f"HumanEval/{row}"))


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("gsm8k", "Question: Add 3 and 1.\nAnswer:"),
        ("aqua_rat", "Q: How much is 3 - 1? Options: (a) 2 (b) 3 (c) 4 (d) 5 (e) 6\nA:"),
        ("human_eval", 'def add(a):\n    """ Add 3 to a. """\n'),
        ("xsum_summarization", "Article: Long text 3.\nSummary:"),
        ("cnn_dm_lm", " ".join(f"w3.{i}" for i in range(100))),
        (
            "cnn_dm_summarization",
            f"Article: {' '.join(f'w3.{i}' for i in range(101))}\nSummary:",
        ),
    ],
)
@pytest.mark.parametrize("template", ["del", "cue"])
def test_prompts_that_both_templates_share(name, prompt, template):
    assert prompts(name, 3, template) == prompt


def test_a_translation_is_instructed_or_cued():
    assert INSTRUCTION.startswith("You are a professional translator.")
    assert prompts("wmt14_de_en", 3, "del") == f"{INSTRUCTION}\n{GERMAN.format(3)}"
    assert prompts("wmt14_de_en", 3, "cue") == f"{GERMAN.format(3)}\nEnglish:"


def test_worked_examples_have_their_answers():
    first, second = shuffled(6, 0)[:2]
    worked = "Question: Add {0} and 1.\nAnswer: {0} + 1 = <<{0}+1={1}>>{1}\n#### {1}\n\n"
    opening = worked.format(first, first + 1)
    assert prompts("gsm8k", second, "del", 1) == f"{opening}Question: Add {second} and 1.\nAnswer:"
    worked = f"{GERMAN.format(first)}\nEnglish: A sentence number {first} .\n\n"
    asked = GERMAN.format(second)
    assert prompts("wmt14_de_en", second, "cue", 1) == f"{worked}{asked}\nEnglish:"
    assert prompts("wmt14_de_en", second, "del", 1) == f"{INSTRUCTION}\n{worked}{asked}"
    worked = f'def add(a):\n    """ Add {first} to a. """\n    return a + {first}\n\n\n'
    assert prompts("human_eval", second, "del", 1).startswith(f"{worked}def add")


def test_aqua_brings_its_own_worked_examples():
    prompt = prompts("aqua_rat", 3, "del", None)
    assert prompt.count("Q: ") == 6
    assert prompt == "\n\n".join([*SHOTS, prompts("aqua_rat", 3, "del", 0)])
    letters = [re.search(r"So the answer is \(([a-e])\)\.$", shot)[1] for shot in SHOTS]
    assert sorted(letters) == list(LETTERS)  # none stands out
    for shot in SHOTS:
        assert re.findall(r"\(([a-e])\)", shot.split("Options:")[1].split("\n")[0]) == list(LETTERS)


def test_the_rest_of_an_article_is_the_reference():
    examples = make_task("cnn_dm_lm").examples(ROWS["cnn_dailymail_test"], None, 0, "del", 0)
    found = {e.id: e.reference for e in examples}
    assert found["cnn_dm_lm-5"] == "w5.100 w5.101 w5.102"
    assert found["cnn_dm_lm-2"] is None


def test_a_users_own_prompts(tmp_path):
    file = tmp_path / "mine.jsonl"
    name = f"jsonl:{file}"
    file.write_text('{"prompt": "a"}\n\n{"prompt": "b", "id": 7, "reference": null}\n')
    examples = load_examples(name, None, None, None, "del", 0)
    assert {(e.id, e.prompt, e.reference) for e in examples} == {
        ("mine-0", "a", None),
        ("7", "b", None),
    }
    with pytest.raises(DynexitError, match="a worked example needs a field 'reference'"):
        load_examples(name, None, None, 1, "del", 0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "c", "id": "x"}, "the id 'x' occurs twice"),
        ({"prompt": "c", "id": [1]}, "row 2 .* has an 'id' that is neither text nor a number"),
        ({"prompt": "c", "reference": 3}, "row 2 .* has a 'reference' that is not text"),
    ],
)
def test_a_users_own_mistakes(tmp_path, row, said):
    (tmp_path / "mine.jsonl").write_text(lines([{"prompt": "a", "id": "x"}, row]))
    with pytest.raises(DynexitError, match=said):
        load_examples(f"jsonl:{tmp_path}/mine.jsonl", None, None, None, "del", 0)


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("gsm8k", {"answer": "It is 3."}, "row 1 .* has no number after '####'"),
        ("aqua_rat", {"correct": "F"}, "row 1 .* needs 'correct' to be one of ABCDE"),
        ("aqua_rat", {"options": "A)1"}, "row 1 .* no field 'options' that is a list of texts"),
    ],
)
def test_rows_without_an_answer(name, changed, said):
    task = make_task(name)
    with pytest.raises(DynexitError, match=said):
        task.examples([{**ROWS[task.file][0], **changed}], None, 0, "del", 0)
