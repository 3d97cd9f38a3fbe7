"""Shapes of texts as options of `generate`."""

import json

import pytest

pytest.importorskip("llguidance")

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "size": {"enum": ["s", "m", "l"]}},
    "required": ["ok", "size"],
    "additionalProperties": False,
}


def test_the_text_fits(dynexit, tmp_path):
    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.gbnf"
    schema.write_text(json.dumps(SCHEMA))
    grammar.write_text('root ::= "yes" | "no"\n')
    code, out, _ = dynexit("generate", "As JSON: ", "--json-schema", schema, "--json")
    record = json.loads(out)
    assert code == 0
    assert list(json.loads(record["text"])) == ["ok", "size"]
    assert record["finish_reason"] == "stop"
    assert "grammar" in record["stats"]["round_records"]["drafter"]
    _, out, _ = dynexit("generate", "Number: ", "--regex", "[0-9]{4}", "--json")
    assert len(json.loads(out)["text"]) == 4
    _, out, _ = dynexit("generate", "Is it? ", "--grammar", grammar, "--json")
    assert json.loads(out)["text"] in ("yes", "no")
    code, out, _ = dynexit("generate", "As JSON: ", "--json-schema", schema, "--compare", "--json")
    assert code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--regex", "(a"], "the regular expression cannot be followed: unclosed group"),
        (["--regex", "a", "--grammar", "x"], "--regex and --grammar both constrain the text"),
        (["--json-schema", "missing.json"], "cannot read missing.json: "),
        (["--json-schema", "bad.json"], "the JSON schema is not JSON: "),
        (["--json-schema", "odd.json"], 'cannot be followed: Unimplemented keys: ["uniqueItems"]'),
        (["--grammar", "bad.json"], "the grammar cannot be followed: "),
        (["--regex", "a", "--ignore-eos"], "ignore_eos cannot be combined with a constraint"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    dynexit, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{nope")
    (tmp_path / "odd.json").write_text('{"type": "array", "uniqueItems": true}')
    code, out, err = dynexit("generate", "Hello", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
