"""Files and the hub, whole and broken."""

import gzip

import pytest
from small_data import PROMPTS, ROWS, lines

from dynexit.errors import DynexitError
from dynexit.tasks import load_examples
from dynexit.tasks.rows import Hub, read_file, read_folder, read_hub


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lines(tmp_path, suffix):
    text = b"\xef\xbb\xbf" + lines(PROMPTS).replace("\n", "\r\n\n").encode()
    file = tmp_path / f"x{suffix}"
    file.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    assert read_folder(tmp_path, "x") == read_file(file) == PROMPTS


def test_line_separators_inside_a_text_end_no_line(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"prompt": "a\u2028b\u0085c"}\n', encoding="utf-8")
    assert read_file(file) == [{"prompt": "a\u2028b\u0085c"}]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist(ROWS["wmt14_de_en_test"])
    parquet.write_table(table, tmp_path / "wmt14_de_en_test.parquet")
    assert read_folder(tmp_path, "wmt14_de_en_test") == ROWS["wmt14_de_en_test"]
    (tmp_path / "wmt14_de_en_test.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DynexitError, match=r"cannot read .*wmt14_de_en_test\.parquet"):
        read_folder(tmp_path, "wmt14_de_en_test")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"prompt": "a"}\n{"prompt": "b', r"x\.jsonl, line 2 is not JSON"),
        (b'{"prompt": "a"}\n\nprose\n', r"x\.jsonl, line 3 is not JSON"),
        (b"[" * 100_000, r"x\.jsonl, line 1 is not JSON"),
        (b'["a"]\n', r"x\.jsonl, line 1 is not a JSON object"),
        (b'{"prompt": "\xff"}\n', r"cannot read .*x\.jsonl"),
    ],
)
def test_broken_lines(tmp_path, content, said):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(DynexitError, match=said):
        load_examples(f"jsonl:{tmp_path}/x.jsonl", None, None, None, "del", 0)


def test_broken_gzip(tmp_path):
    file = tmp_path / "x.jsonl.gz"
    for content in (gzip.compress(lines(PROMPTS).encode())[:-12], b"no gzip"):
        file.write_bytes(content)
        with pytest.raises(DynexitError, match=r"cannot read .*x\.jsonl\.gz"):
            read_file(file)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DynexitError, match=r"data folder .*nowhere does not exist"):
        load_examples("gsm8k", tmp_path / "nowhere", None, None, "del", 0)
    with pytest.raises(DynexitError, match=r"has none of gsm8k_test\.jsonl, gsm8k_test\.jsonl\.gz"):
        load_examples("gsm8k", tmp_path, None, None, "del", 0)
    with pytest.raises(DynexitError, match=r"file .*mine\.jsonl does not exist"):
        load_examples(f"jsonl:{tmp_path}/mine.jsonl", None, None, None, "del", 0)
    with pytest.raises(DynexitError, match="cannot read"):
        load_examples(f"jsonl:{tmp_path}", None, None, None, "del", 0)


def test_the_hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "gsm8k"
    (folder / "main").mkdir(parents=True)
    (folder / "main" / "test.jsonl").write_text(lines(ROWS["gsm8k_test"]))
    files = "data_files: [{split: test, path: main/test.jsonl}]"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n  {files}\n---\n")
    hub = Hub(str(folder), "main", "test")
    assert list(read_hub(hub)) == ROWS["gsm8k_test"]
    monkeypatch.setattr("dynexit.tasks.gsm8k.Gsm8k.hub", hub)
    assert len(load_examples("gsm8k", None, 4, 1, "del", 0)) == 4
    with pytest.raises(DynexitError, match=r"cannot load .* from the Hugging Face hub"):
        read_hub(hub._replace(split="holdout"))


def test_a_hub_out_of_reach(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def load(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub.\nMore.")

    monkeypatch.setattr(datasets, "load_dataset", load)
    said = r"cannot load openai/gsm8k .* hub: Couldn't reach .* on the Hub\. Use --data-dir"
    with pytest.raises(DynexitError, match=said):
        load_examples("gsm8k", None, None, None, "del", 0)
