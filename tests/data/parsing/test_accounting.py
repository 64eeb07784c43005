"""The reject ledger: order, counts, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from recalign.data.parsing.accounting import TEXT_LIMIT, RejectLedger


def add(ledger: RejectLedger, source: str, line: int, reason: str, text: str, *, lines: int = 1) -> None:
    ledger.add_frame(source, pl.DataFrame({"line": [line], "lines": [lines], "reason": [reason], "text": [text]}))


def test_entries_come_by_source_then_by_line(tmp_path: Path) -> None:
    ledger = RejectLedger()
    add(ledger, "ratings.csv", 9, "late", "i")
    add(ledger, "items.csv", 4, "odd", "d")
    add(ledger, "ratings.csv", 2, "late", "b")
    assert ledger.frame().select("source", "line").rows() == [("ratings.csv", 2), ("ratings.csv", 9), ("items.csv", 4)]
    add(ledger, "ratings.csv", 1, "late", "a")
    assert ledger.frame()["line"].to_list() == [1, 2, 9, 4]
    assert len(ledger) == 4


def test_counts_are_by_reason_most_frequent_first() -> None:
    ledger = RejectLedger()
    for line, reason in enumerate(["b", "a", "c", "c"]):
        add(ledger, "f", line, reason, "")
    assert list(ledger.counts().items()) == [("c", 2), ("a", 1), ("b", 1)]
    assert RejectLedger().counts() == {}


def test_written_lines_are_json_and_text_is_cut(tmp_path: Path) -> None:
    ledger = RejectLedger()
    add(ledger, "f.csv", 3, "torn", 'a"b\n\u2028ü' + "x" * 500, lines=2)
    ledger.write(tmp_path / "rejects.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_bytes().split(b"\n") if line]
    assert rows == [
        {"source": "f.csv", "line": 3, "lines": 2, "reason": "torn", "text": ('a"b\n\u2028ü' + "x" * 500)[:TEXT_LIMIT]}
    ]


def test_no_entry_writes_an_empty_file(tmp_path: Path) -> None:
    RejectLedger().write(tmp_path / "rejects.jsonl")
    assert (tmp_path / "rejects.jsonl").read_bytes() == b""


def test_a_frame_of_rows_is_one_entry_each() -> None:
    ledger = RejectLedger()
    rows = pl.DataFrame(
        {"line": [5, 6], "lines": [1, 3], "reason": ["r", "s"], "text": ["x", "y" * 300], "more": [1, 2]}
    )
    ledger.add_frame("f", rows)
    ledger.add_frame("f", rows.clear())
    assert len(ledger) == 2
    assert ledger.frame()["text"].str.len_chars().to_list() == [1, TEXT_LIMIT]
