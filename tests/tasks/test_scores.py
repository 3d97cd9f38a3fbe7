"""Scores, by hand."""

import math

import pytest

from dynexit.tasks import make_task


def score(name, text, reference):
    return make_task(name).score(text, reference)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" 9 * 2 = 18.\n#### 18", True),
        ("#### 18\n\nQuestion: And now?\nAnswer: #### 20", True),
        ("#### 18 #### 20", True),
        (" She has 20 - 2 = $18.", True),
        ("so 18.00", True),
        ("18 eggs\nQuestion: what is 7?", True),
        ("#### none, it was 18", True),
        ("It is 18 but #### ?", True),
        ("20-18", True),
        ("x=-18", False),
        ("$-18", False),
        ("(2)-18", True),
        ("118", False),
        ("18, then 2", False),
        ("no number", False),
        ("", False),
    ],
)
def test_gsm8k(text, right):
    assert score("gsm8k", text, "18") == {"exact_match": float(right)}


@pytest.mark.parametrize("text", ["#### $70,000", "70,000.", "70000", "$70,000.00", "a 1,2,70000"])
def test_gsm8k_reads_separators(text):
    assert score("gsm8k", text, "70000") == {"exact_match": 1.0}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" 3 * 4 = 12. So the answer is (b).\n\nQ: Next? So the answer is (c).", True),
        ("The answer is (a)? No: the answer is (B).", True),
        ("the answer is b.", True),
        ("Answer : B", True),
        ("ANSWER = b\n", True),
        ("Correct option is B", True),
        ("The answer is a matter of (b)", True),
        ("(a) is too small, so (b)", True),
        ("B", True),
        (" b)\n", True),
        ("So the answer is (c).", False),
        ("The answer is a secret.", False),
        ("", False),
    ],
)
def test_aqua_rat(text, right):
    assert score("aqua_rat", text, "b") == {"exact_match": float(right)}


@pytest.mark.parametrize("name", ["cnn_dm_summarization", "xsum_summarization"])
def test_summaries(name):
    told = score(name, " The cats sat.\n\nArticle: The dog barked.", "The cat sat down.")
    # Three stems of three and of four words; two pairs of two and of three; a run of three.
    assert told == pytest.approx({"rouge1": 6 / 7, "rouge2": 4 / 5, "rougeL": 6 / 7})


def test_articles():
    told = score("cnn_dm_lm", "b a Article: c", "a b c article")
    assert told == pytest.approx({"rouge1": 1.0, "rouge2": 0.0, "rougeL": 0.5})


@pytest.mark.parametrize(
    "text",
    [
        "The house is small and red .",
        "\n\nThe house is small and red .\nGerman: Noch eins .",
        "\nEnglish: The house is small and red . \n",
    ],
)
def test_translations(text):
    told = score("wmt14_de_en", text, "The house is small and red .")
    assert told == pytest.approx({"bleu": 100.0, "chrf": 100.0})


def test_translations_score_as_a_corpus():
    task = make_task("wmt14_de_en")
    wanted = ["The house is small and red .", "A dog sees the cat in the garden ."]
    texts = ["The house is small and red .", "Nothing of the kind"]
    alone = [task.score(t, r)["bleu"] for t, r in zip(texts, wanted, strict=True)]
    corpus = task.score_all([*texts, "skipped"], [*wanted, None])
    # Runs of one to four words that are right, of all written; 11 words for 16.
    runs = (8 / 11) * (6 / 9) * (5 / 7) * (4 / 5)
    assert corpus["bleu"] == pytest.approx(100 * math.exp(1 - 16 / 11) * runs**0.25)
    assert corpus["bleu"] != pytest.approx(sum(alone) / 2)
    assert 0 < corpus["chrf"] < 100


def test_means():
    task = make_task("gsm8k")
    assert task.score_all(["#### 1", "#### 2", "3"], ["1", "1", None]) == {"exact_match": 0.5}
    with pytest.raises(ValueError, match="shorter"):
        task.score_all(["1"], [])


def test_own_prompts():
    assert score("jsonl:x", " yes\n", "yes") == {"exact_match": 1.0}
    assert score("jsonl:x", "yes, sir", "yes") == {"exact_match": 0.0}
