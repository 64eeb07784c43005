"""The record grammar: quoting, rows over several lines, and damage that stays local."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing import lines, records
from recalign.data.parsing.accounting import FileTally, RejectLedger, sift
from recalign.data.parsing.records import Layout, delimited_rows, named_layout, pattern_rows, split_fields
from recalign.errors import DataError

Write = Callable[..., Path]


def read(path: Path, separator: str = ",") -> tuple[list[tuple[str, ...]], RejectLedger, FileTally]:
    """All fields of all rows, with the ledger and a closed account."""
    ledger = RejectLedger()
    tally = FileTally(path, 0, ledger)

    def layout(header: list[str]) -> Layout:
        return Layout(len(header), {f"f{place}": place for place in range(len(header))})

    rows: list[tuple[str, ...]] = []
    for frame in delimited_rows(tally, separator, layout):
        kept = sift(frame, [(pl.lit(False), "never")], tally)
        rows += kept.drop("line", "lines", "text").rows()
    tally.account()
    return rows, ledger, tally


def test_quotes_separators_and_line_ends_inside_fields(write: Write) -> None:
    path = write("f.csv", 'a,b\n1,"x, ""y"""\n2,"two\nlines\n\nand more"\n"","" \n3,it"s\n')
    rows, ledger, tally = read(path)
    assert rows == [("1", 'x, "y"'), ("2", "two\nlines\n\nand more"), ("3", 'it"s')]
    assert ledger.frame().select("line", "lines", "reason", "text").rows() == [(7, 1, records.MALFORMED, '"","" ')]
    assert tally.account().parsed == 6


def test_a_stray_quote_costs_its_own_line_only(write: Write) -> None:
    body = "".join(f"{n},plain,row\n" for n in range(50))
    rows, ledger, _ = read(write("f.csv", "a,b,c\n" + body + '77,"torn,row\n' + body + '88,"ok, quoted",row\n' + body))
    assert len(rows) == 151
    assert ledger.frame().select("line", "reason").rows() == [(52, records.UNTERMINATED)]
    rows, ledger, _ = read(write("f.csv", "a,b,c\n" + '77,"torn,row\n' + body))
    assert len(rows) == 50
    assert ledger.counts() == {records.UNTERMINATED: 1}


def test_too_few_and_too_many_fields_and_empty_lines(write: Write) -> None:
    rows, ledger, _ = read(write("f.csv", "a,b\n1\n\n1,2,3\n1,2\n , \n"))
    assert rows == [("1", "2"), (" ", " ")]
    assert ledger.frame()["reason"].to_list() == [records.MALFORMED, records.EMPTY, records.MALFORMED]


def test_a_row_over_unreadable_lines_is_rejected_whole(write: Write) -> None:
    rows, ledger, _ = read(write("f.csv", b'a,b\n1,"x\n\xff\ny"\n2,z\n'))
    assert rows == [("2", "z")]
    assert ledger.frame().select("line", "lines", "reason").rows() == [(2, 3, records.UNREADABLE)]


def test_rows_continue_across_blocks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_SNIFF_BYTES", 8)
    original = lines.line_blocks
    monkeypatch.setattr(records, "line_blocks", lambda tally, encoding: original(tally, encoding, block_bytes=8))
    text = 'a,b\n1,"' + "long\n" * 30 + '"\n2,x\n3,"open\n4,y\n'
    rows, ledger, _ = read(write("f.csv", text))
    assert rows == [("1", "long\n" * 30), ("2", "x"), ("4", "y")]
    assert ledger.frame().select("line", "reason").rows() == [(34, records.UNTERMINATED)]


def test_a_quote_without_end_is_given_up_after_a_bound(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_LINES", 5)
    rows, ledger, _ = read(write("f.csv", 'a,b\n1,"' + "x\n" * 10 + '"\n2,y\n'))
    assert rows == [("2", "y")]
    assert len(ledger) == 11


def test_named_columns_are_found_by_name(write: Write) -> None:
    path = write("f.csv", 'x,"the b",a\n9,B,A\n')
    tally = FileTally(path, 0, RejectLedger())
    frame = pl.concat(delimited_rows(tally, ",", named_layout({"ours": "a", "other": "the b"}, path)))
    assert frame.select("ours", "other").rows() == [("A", "B")]
    for header in ("a,b", "a,a,the b"):
        tally = FileTally(write("g.csv", header + "\n1,2\n"), 0, RejectLedger())
        with pytest.raises(DataError, match="the b"):
            list(delimited_rows(tally, ",", named_layout({"ours": "a", "other": "the b"}, path)))


def test_a_header_that_is_no_row_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="header of"):
        read(write("f.csv", '"a,b\n1,2\n'))


def test_pattern_rows_match_whole_lines(write: Write) -> None:
    ledger = RejectLedger()
    tally = FileTally(write("f", b"1:2\n1:2:3\n\n \xff:1\n:\n"), 0, ledger)
    frame = pl.concat(
        sift(rows, [(pl.lit(False), "")], tally) for rows in pattern_rows(tally, "(?P<a>[^:]*):(?P<b>[^:]*)")
    )
    assert frame.select("line", "a", "b").rows() == [(1, "1", "2"), (5, "", "")]
    assert ledger.frame()["reason"].to_list() == [records.MALFORMED, records.EMPTY, records.UNREADABLE]
    assert tally.account().lines == 5


@pytest.mark.parametrize(
    ("line", "fields"),
    [("", [""]), ("a,b", ["a", "b"]), ('"a,b",c', ["a,b", "c"]), ('"a""b"', ['a"b']), (",", ["", ""]), ('"a', None)],
)
def test_split_fields(line: str, fields: list[str] | None) -> None:
    assert split_fields(line, ",") == fields


FIELD = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ['"', '""', ",", "\n", '",', ',"', "a\nb"]
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=12),
    quote=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_a_csv_writer_wrote_comes_back(write: Write, table: list[tuple[str, ...]], quote: int) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=quote, lineterminator="\n").writerows([("a", "b", "c"), *table])  # type: ignore[arg-type]
    rows, ledger, _ = read(write("f.csv", buffer.getvalue()))
    assert rows == table
    assert len(ledger) == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from('ab1,;"\n\r\\ '), max_size=60))
def test_any_damage_is_accounted_for(write: Write, text: str) -> None:
    rows, ledger, tally = read(write("f.csv", "a,b\n" + text))
    account = tally.account()
    assert account.header == 1
    assert account.lines == 1 + account.parsed + account.rejected
    assert ledger.frame()["lines"].sum() == account.rejected
    assert all(len(row) == 2 for row in rows)
