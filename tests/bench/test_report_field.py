"""The table of all methods side by side, and the lines of code that it counts."""

import pytest
from reporting import del_records, row_of, tables, text_of, vanilla_records

from dynexit.bench.report.source_lines import source_lines
from dynexit.decoding.controllers import methods


def test_the_table_has_every_method_the_fastest_first():
    (table,) = tables(text_of([*vanilla_records(), *del_records()]))["Methods side by side"]
    assert [row[0] for row in table[2:]] == ["`del`", "`vanilla`"]
    assert row_of(table, "del") == {
        "method": "`del`",
        "tok/s": "20.0",
        "speedup [95 %]": "2.67x",
        "tokens per round": "4.00",
        "rows per round": "4.0",
        "ms per token": "50.00",
        "drafting": "25 %",
        "verifying": "65 %",
        "controller": "5 %",
        "peak memory": "3.00 MB",
        "lines of code": str(source_lines("del")),
    }
    assert row_of(table, "vanilla")["rows per round"] == "1.0"


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_has_lines_of_code(method):
    assert 2 < source_lines(method) < 1_000


def test_lines_are_those_with_code_of_all_files_that_a_method_needs():
    assert source_lines("lookup") > source_lines("layerskip") > source_lines("jacobi")
    assert source_lines("del:omega=0.5") == source_lines("del")
    assert source_lines("./mine.py:Patient") is None
    assert source_lines("vanilla") < 20  # it drafts nothing
