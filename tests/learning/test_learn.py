"""`learn` on the bundled model: continued after a stop, written whole, and often right."""

import json

import pytest

import dynexit as package
from dynexit.decoding.successors import SuccessorTable
from dynexit.errors import DynexitError
from dynexit.learning.journal import Text
from dynexit.learning.judging import coverage, judge
from dynexit.learning.learn import TEXTS
from dynexit.learning.learned import ABOUT, ARRAYS, CARD, read_learned
from dynexit.learning.predicting import predict
from dynexit.learning.vocabulary import choose_draft_vocabulary

SIZE = 20_000
SHORT = {"longest": 24, "batch_size": 8, "table_size": SIZE}


@pytest.fixture(scope="module")
def lm():
    return package.load(device="cpu", dtype="fp32", check=False, learned=False)


@pytest.fixture(scope="module")
def learned(lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    return folder, package.learn(lm, folder, tokens=6000, **SHORT)


def test_it_writes_a_folder_that_is_read_again(lm, learned):
    folder, made = learned
    assert {file.name for file in folder.iterdir()} == {ABOUT, ARRAYS, CARD, TEXTS}
    found = read_learned(folder, lm.model.vocabulary_size)
    assert found.about.recipe == made.about.recipe
    assert found.about.recipe.tokens + found.about.held_out["all"].positions >= 6000
    assert SIZE - 13 <= found.table.num_bytes <= SIZE
    again = package.load(device="cpu", dtype="fp32", check=False, learned=folder)
    assert again.learned.table.after([1, 2, 3]) == found.table.after([1, 2, 3])


def test_the_table_knows_what_the_model_says(learned):
    _, made = learned
    figures = made.about.held_out["all"]
    assert figures.positions == sum(figures.orders)
    assert figures.best == sum(figures.right)
    assert figures.positions / 4 < figures.best < figures.best_three < figures.positions
    shares = list(made.about.covered.values())
    assert shares == sorted(shares)
    assert shares[0] > 0.5


def test_speed_is_predicted_from_held_out_texts(lm, learned):
    folder, made = learned
    prediction, told = made.about.prediction, made.about.held_out
    assert set(prediction.speedup) == set(told)
    assert 1.05 < prediction.speedup["all"] < 4
    assert len(prediction.agreement) == lm.num_layers - 1
    assert prediction.agreement[0] < prediction.agreement[-1] <= 1
    texts = [text for text in held_out(folder) if text.held_out]
    nothing = predict(lm, SuccessorTable.of({}), texts)  # lookup alone
    assert nothing.speedup["all"] < prediction.speedup["all"]
    assert nothing.agreement == prediction.agreement
    card = (folder / CARD).read_text()
    assert f"| all | {prediction.speedup['all']:.2f}x |" in card
    assert f"| {lm.num_layers // 4} | {prediction.agreement[lm.num_layers // 4 - 1]:.1%} |" in card
    assert predict(lm, made.table, []) is None


def held_out(folder):
    return [
        Text(**{**told, "tokens": tuple(told["tokens"])})
        for told in map(json.loads, (folder / TEXTS).read_text().splitlines()[1:])
    ]


def test_stopped_and_called_again_it_goes_on(lm, learned, tmp_path):
    folder, _ = learned
    told = []

    def stop(new):
        told.append(new)
        if sum(told) > 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        package.learn(lm, tmp_path, stop, tokens=6000, **SHORT)
    assert [file.name for file in tmp_path.iterdir()] == [TEXTS]
    kept = (tmp_path / TEXTS).read_bytes()
    assert kept.count(b"\n") > 10
    told.clear()
    package.learn(lm, tmp_path, told.append, tokens=6000, **SHORT)
    assert (tmp_path / TEXTS).read_bytes().startswith(kept)
    assert told[0] > 1000
    shorter = package.learn(lm, tmp_path, tokens=1, **SHORT | {"longest": 8})
    assert shorter.about.recipe.longest == SHORT["longest"]  # what lies there is of that length
    assert {line for line in lines(tmp_path) if "prose" in line} == {
        line for line in lines(folder) if "prose" in line
    }


def lines(folder):
    texts = map(json.loads, (folder / TEXTS).read_text().splitlines()[1:])
    wanted = ("family", "number", "temperature", "tokens")
    return {json.dumps([text[name] for name in wanted]) for text in texts if text["number"] < 5}


def test_a_users_prompts_come_first_and_judges_teach_nothing(lm, tmp_path):
    mine, judges = tmp_path / "mine.txt", tmp_path / "judges.jsonl"
    mine.write_text("German: Ja.\nGerman: Nein.\nQuestion: Why?\n")
    judges.write_text('{"prompt": "German: Nein!\\nEnglish:"}\n')
    made = package.learn(lm, tmp_path / "out", tokens=60, prompts=mine, judges=judges, **SHORT)
    assert made.about.held_out["judges"].positions > 0
    assert 1 <= made.about.recipe.own_prompts <= 3
    with pytest.raises(DynexitError, match="cannot be read"):
        package.learn(lm, tmp_path / "out", prompts=tmp_path / "none", **SHORT)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tokens": 0}, "learn.tokens is 0: it must be a whole number"),
        ({"table_size": 2.5}, "learn.table_size is 2.5"),
        ({"tokenz": 3}, "unknown 'tokenz'"),
        ({"families": ("prose", "songs")}, "family 'songs' is not known: use questions, "),
        ({"longest": 2048}, "context holds only 2048 tokens"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(lm, tmp_path, settings, reason):
    with pytest.raises(DynexitError, match=reason):
        package.learn(lm, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_where_no_prompt_fits_the_context_it_ends(lm, tmp_path):
    with pytest.raises(DynexitError, match="no prompt fits the model's context"):
        package.learn(lm, tmp_path, longest=2047)


def test_a_model_without_a_tokenizer_cannot_write(tmp_path):
    lm = package.load(device="cpu", check=False)
    bare = package.LanguageModel(lm.model, None, lm.eos, lm.name, lm.folder)
    with pytest.raises(DynexitError, match="with a tokenizer"):
        package.learn(bare, tmp_path)


def test_nothing_to_judge_by_is_no_figure(learned):
    _, made = learned
    assert judge(made.table, []) == {}
    assert coverage(made.frequent, []) == {}


def test_the_command_shows_what_it_made(dynexit, tmp_path):
    out = tmp_path / "out"
    small = ("--tokens", 12_000, "--table-size", 5000, "--device", "cpu", "--dtype", "fp32")
    code, shown, notes = dynexit("learn", "bundled", "-o", out, *small)
    assert (code, "best is right" in shown, "5,000 bytes" in shown) == (0, True, False)
    assert str(out) in notes
    code, told, _ = dynexit("learn", "bundled", "-o", out, *small, "--json")
    record = json.loads(told)
    assert (code, record["folder"]) == (0, str(out))
    assert record["held_out"]["all"]["positions"] > 0


def test_info_shows_what_was_learned(dynexit, learned, monkeypatch):
    _, made = learned
    monkeypatch.setattr("dynexit.loaded_model.find_learned", lambda *given: made)
    code, told, _ = dynexit("info", "--device", "cpu", "--dtype", "fp32", "--json")
    assert (code, json.loads(told)["learned"]["contexts"]) == (0, len(made.table))
    _, told, _ = dynexit("info", "--device", "cpu", "--dtype", "fp32")
    assert f"learned from {made.about.recipe.tokens:,} of its own tokens" in told


def test_the_command_that_is_interrupted_says_what_is_kept(dynexit, tmp_path, monkeypatch):
    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("dynexit.learning.learn.collect", stopped)
    code, out, err = dynexit("learn", "bundled", "-o", tmp_path, "--device", "cpu")
    assert (code, out) == (130, "")
    assert f"texts so far are kept in {tmp_path}" in err


def test_the_command_refuses_in_a_sentence(dynexit, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, reason in (
        (("-o", tmp_path / "file"), "is a file: give a folder"),
        (("-o", tmp_path, "--prompts", tmp_path / "none"), "cannot be read"),
    ):
        code, out, err = dynexit("learn", "bundled", *arguments)
        assert (code, out) == (2, "")
        assert reason in err
        assert "writing" not in err


def test_a_draft_vocabulary_is_kept_beside_what_was_learned(lm, learned, tmp_path):
    folder, made = learned
    first = package.load(device="cpu", dtype="fp32", check=False, learned=folder)
    chosen = choose_draft_vocabulary(first, 64, tmp_path)
    assert chosen.frequent == made.frequent
    again = package.load(device="cpu", dtype="fp32", check=False, learned=tmp_path)
    assert again.model.draft_tokens.usual(8192) == 64
    assert again.model.draft_tokens.tokens.tolist() == list(made.frequent[:64])
    assert again.learned.table.after([1, 2, 3]) == made.table.after([1, 2, 3])
    texts = [one.generate("Once", "layerskip", max_new_tokens=24).text for one in (again, lm)]
    assert texts[0] == texts[1]
    choose_draft_vocabulary(again, None, tmp_path)  # and back
    usual = package.load(device="cpu", dtype="fp32", check=False, learned=tmp_path).model
    assert usual.draft_tokens.usual(8192) == first.model.draft_tokens.usual(8192)


def test_a_draft_vocabulary_of_what_is_not_known_is_refused(lm, learned, tmp_path):
    folder, made = learned
    known = package.load(device="cpu", dtype="fp32", check=False, learned=folder)
    with pytest.raises(DynexitError, match=f"size is 9000, but .* 1 to {len(made.frequent):,} tok"):
        choose_draft_vocabulary(known, 9000, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_has_not_learned_learns_first(lm, tmp_path):
    made = choose_draft_vocabulary(lm, 32, tmp_path, tokens=2000, **SHORT)
    assert made.draft_tokens.usual(8192) == 32
    assert read_learned(tmp_path, 8192).about.recipe.texts
    for family, shares in made.about.families.items():
        assert family in made.about.held_out
        assert list(shares.values()) == sorted(shares.values())
