"""JSON Lines: keys as columns, values as they are written, and damage that stays on its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing import json_lines, lines
from recalign.data.parsing.accounting import FileTally, RejectLedger, sift
from recalign.data.parsing.json_lines import NESTED, NO_OBJECT, json_keys, json_rows
from recalign.data.parsing.records import EMPTY, UNREADABLE
from recalign.errors import DataError

Write = Callable[..., Path]


def read(path: Path, **columns: str) -> tuple[list[tuple[str, ...]], RejectLedger]:
    """The wanted columns of all rows, and the ledger; the account is closed."""
    ledger = RejectLedger()
    tally = FileTally(path, 0, ledger)
    frames = [sift(rows, [(pl.lit(False), "")], tally) for rows in json_rows(tally, columns, "utf-8")]
    account = tally.account()
    assert account.lines == account.parsed + account.rejected == len(path.read_bytes().splitlines())
    return pl.concat(frames).select(list(columns)).rows(), ledger


def test_values_are_text_as_they_are_written(write: Write) -> None:
    values = ["x", 1, 17.0, 1e400, -0.5, 12345678901234567890123, True, False, None, "", 'a"b\nc', "é"]
    text = "\n".join(json.dumps({"k": value}) for value in values).replace("Infinity", "1e400") + "\n{}\n"
    rows, ledger = read(write("f.jsonl", text), v="k")
    expected = [
        "x",
        "1",
        "17.0",
        "1e400",
        "-0.5",
        "12345678901234567890123",
        "true",
        "false",
        "",
        "",
        'a"b\nc',
        "é",
        "",
    ]
    assert [row[0] for row in rows] == expected
    assert len(ledger) == 0


def test_what_is_no_flat_object_is_rejected_alone(write: Write) -> None:
    bad = ['{"k": 1', "[1]", "7", "null", '{"k": NaN}', '{"k": 1, "k": 2}', '{"k": "\\ud800"}', "{}{}", "[" * 100_000]
    nested = ['{"k": [1]}', '{"k": {"a": 1}}', '{"k": []}']
    lines_ = [*bad, "", "  ", *nested, '{"k": "good", "z": [1]}']
    rows, ledger = read(write("f.jsonl", "\n".join(lines_).encode() + b"\n\xff\n"), v="k")
    assert rows == [("good",)]
    assert ledger.counts() == {NO_OBJECT: len(bad), NESTED: 3, EMPTY: 2, UNREADABLE: 1}
    assert ledger.frame()["line"].to_list() == [*range(1, len(lines_)), len(lines_) + 1]


def test_genres_are_lists_and_further_columns_hold_anything(write: Write) -> None:
    lines_ = [{"g": ["A, B", "C"], "d": {"x": ["é"]}}, {"g": "A", "d": 1}, {"g": [[1]]}, {"g": [None, 7]}, {"g": []}]
    rows, ledger = read(write("f.jsonl", "\n".join(map(json.dumps, lines_))), genres="g", c1="d")
    assert rows == [("A, B|C|", '{"x": ["é"]}'), ("A", "1"), ("7|", ""), ("|", "")]
    assert ledger.counts() == {NESTED: 1}


def test_keys_are_those_of_the_whole_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("f.jsonl", '{"b": 1}\nno\n' + '{"b": 1, "a": 2}\n' * 20_000 + '{"late": 1}\n')
    tally = FileTally(path, 0, RejectLedger())
    assert json_keys(tally.input, "utf-8") == ["b", "a", "late"]
    assert tally.account().lines == 0
    monkeypatch.setattr(json_lines, "MAX_KEYS", 2)
    with pytest.raises(DataError, match="more than 2 different keys"):
        json_keys(tally.input, "utf-8")


@pytest.mark.parametrize("content", ['[\n{"a": 1}\n]', ' [{"a": 1}]', '{\n  "a": 1\n}\n', "{}\n"])
def test_arrays_and_indented_objects_are_refused(write: Write, content: str) -> None:
    tally = FileTally(write("f.jsonl", content), 0, RejectLedger())
    with pytest.raises(DataError, match=r"(a JSON array|no JSON object on any line).*jq"):
        json_keys(tally.input, "utf-8")


def test_rows_continue_across_blocks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_SNIFF_BYTES", 8)
    original = lines.line_blocks
    monkeypatch.setattr(json_lines, "line_blocks", lambda tally, encoding: original(tally, encoding, block_bytes=8))
    rows, _ = read(write("f.jsonl", "".join(f'{{"k": {n}}}\n' for n in range(50))), v="k")
    assert rows == [(str(n),) for n in range(50)]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.text(st.sampled_from('{}[]":,ak1\\u\n\r é'), max_size=60))
def test_any_damage_is_accounted_for(write: Write, noise: str) -> None:
    path = write("f.jsonl", '{"k": 1}\n' + noise)
    tally = FileTally(path, 0, RejectLedger())
    for rows in json_rows(tally, {"v": "k"}, "utf-8"):
        sift(rows, [(pl.lit(False), "")], tally)
    account = tally.account()
    assert account.lines == account.parsed + account.rejected >= 1
