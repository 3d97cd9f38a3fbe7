"""Records that were edited: JSON of a wrong shape is one sentence that names file and line."""

import json

import pytest
from reporting import del_records, vanilla_records

from dynexit import DynexitError
from dynexit.bench.records import read_records

ROUNDS = ("stats", "round_records")


def edited(path, value):
    """A record in which the value at a path is another."""
    record = json.loads(del_records()[0].as_line())
    *above, last = path
    place = record
    for name in above:
        place = place[name]
    place[last] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[1]", "it is [1]"),
        ('"text"', "it is 'text'"),
        ('{"model": "m"}', "it lacks 'task'"),
        (edited(("model",), 3), "it.model is 3: it must be text"),
        (edited(("method",), None), "it.method is None: it must be text"),
        (edited(("text",), []), "it.text is []: it must be text"),
        (edited(("token_ids",), {}), "it.token_ids is {}"),
        (edited(("token_ids",), [1, "2"]), "it.token_ids is [1, '2']"),
        (edited(("token_ids",), [1.5]), "it.token_ids is [1.5]"),
        (edited(("token_ids",), [-1]), "a number that is not a token id"),
        (edited(("token_ids",), [10**30]), "a number that is not a token id"),
        (edited(("scores",), {"exact_match": "1"}), "it.scores is"),
        (edited(("scores",), 1), "it.scores is 1"),
        (edited(("shape", "num_layers"), "4"), "it.shape is"),
        (edited(("options",), []), "it.options is []"),
        (edited(("environment",), "cpu"), "it.environment is 'cpu'"),
        (edited(("peak_memory",), "3 MB"), "it.peak_memory is '3 MB'"),
        (edited(("error",), 5), "it.error is 5"),
        (edited(("speed",), 5), "it has an unknown 'speed'"),
        (edited(("stats",), 5), "it.stats is 5"),
        (edited(("stats",), {"num_layers": 4}), "stats lacks 'tokens'"),
        (edited(("stats", "num_layers"), 0), "stats has a number out of range"),
        (edited(("stats", "num_layers"), None), "stats.num_layers is None"),
        (edited(("stats", "tokens"), "8"), "stats.tokens is '8'"),
        (edited(("stats", "decode_seconds"), 0), "tokens but no decode time"),
        (edited(("stats", "decode_seconds"), float("nan")), "stats.decode_seconds is nan"),
        (edited(("stats", "prefill_seconds"), -1), "stats has a number out of range"),
        (edited(ROUNDS, []), "stats lacks 'round_records'"),
        (edited((*ROUNDS, "drafted"), [3]), "differ in length"),
        (edited((*ROUNDS, "drafted"), 3), "round_records.drafted is 3"),
        (edited((*ROUNDS, "accepted"), [3, -1]), "accepted has a number out of range"),
        (edited((*ROUNDS, "exit_layer"), [2, 9]), "an exit layer beyond 4"),
        (edited((*ROUNDS, "threshold"), [0.5, "x"]), "round_records.threshold is"),
        (edited((*ROUNDS, "drafter"), [3, 4]), "round_records.drafter is"),
    ],
)
def test_an_edited_record_is_one_sentence(tmp_path, line, sentence):
    file = tmp_path / "run.jsonl"
    file.write_text(vanilla_records()[0].as_line() + line + "\n")
    with pytest.raises(DynexitError) as told:
        list(read_records([file]))
    assert str(told.value).startswith(f"{file}, line 2 is not a record of `dynexit bench`: ")
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)
