"""The journal of texts: whole after a kill, refused for another model."""

from dataclasses import replace

import numpy as np
import pytest
from made_texts import made_text

from dynexit.errors import DynexitError
from dynexit.learning.journal import Journal

HEADING = {"fingerprint": "abc"}


def test_it_goes_on_after_a_kill(tmp_path):
    file, texts = tmp_path / "new" / "texts.jsonl", [made_text(seed, seed) for seed in range(3)]
    journal = Journal(file, HEADING)
    for text in texts[:2]:
        journal.append(text)
    journal.close()
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"family": "que')
    journal = Journal(file, HEADING)
    assert list(journal.texts.values()) == texts[:2]
    journal.append(texts[2])
    journal.close()
    assert list(Journal(file, HEADING).texts.values()) == texts
    assert file.read_bytes().startswith(whole)


def test_a_text_holds_what_was_likely(tmp_path):
    text = made_text(0)
    likely, chances = text.read
    assert likely.shape == chances.shape == (len(text.tokens) - 1, 8)
    assert likely.dtype == np.uint32
    assert text.new_tokens == text.tokens[5:]


def test_a_text_of_other_lengths_is_told(tmp_path):
    assert made_text(0).is_whole
    file = tmp_path / "texts.jsonl"
    journal = Journal(file, HEADING)
    journal.append(replace(made_text(0), chances="AAAA"))
    journal.close()
    with pytest.raises(DynexitError, match="line 2 is damaged"):
        Journal(file, HEADING)


def test_two_do_not_write_one_file(tmp_path):
    first = Journal(tmp_path / "texts.jsonl", HEADING)
    with pytest.raises(DynexitError, match="is being written by another run"):
        Journal(tmp_path / "texts.jsonl", HEADING)
    first.close()
    Journal(tmp_path / "texts.jsonl", HEADING).close()


def test_what_another_model_wrote_is_refused(tmp_path):
    Journal(tmp_path / "texts.jsonl", HEADING).close()
    with pytest.raises(DynexitError, match="with fingerprint 'abc', not 'xyz'"):
        Journal(tmp_path / "texts.jsonl", {"fingerprint": "xyz"})


@pytest.mark.parametrize("line", ["no JSON", '{"family": 3}', "[]"])
def test_damaged_lines_are_told(tmp_path, line):
    file = tmp_path / "texts.jsonl"
    Journal(file, HEADING).close()
    with file.open("a") as opened:
        opened.write(line + "\n")
    with pytest.raises(DynexitError, match="line 2"):
        Journal(file, HEADING)
