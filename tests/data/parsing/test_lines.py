"""Physical lines: numbers, line ends, encodings, and files that are no text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing.accounting import FileTally, RejectLedger
from recalign.data.parsing.lines import is_utf8, line_blocks, read_head
from recalign.errors import ConfigError, DataError

Write = Callable[..., Path]


def lines_of(path: Path, encoding: str = "utf-8", block_bytes: int = 1 << 20) -> pl.DataFrame:
    tally = FileTally(path, 0, RejectLedger())
    return pl.concat(line_blocks(tally, encoding, block_bytes=block_bytes))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends(write: Write, end: str, last: bool) -> None:
    path = write("f", end.join(["a", "", "b c"]) + (end if last else ""))
    assert lines_of(path).rows() == [(1, "a", True), (2, "", True), (3, "b c", True)]


def test_a_lone_cr_is_no_line_end_where_lf_is(write: Write) -> None:
    assert lines_of(write("f", "a\rb\nc\n"))["text"].to_list() == ["a\rb", "c"]


def test_empty_lines_at_the_end_are_lines(write: Write) -> None:
    assert lines_of(write("f", "a\n\n\n"))["text"].to_list() == ["a", "", ""]


def test_a_byte_order_mark_is_dropped(write: Write) -> None:
    assert lines_of(write("f", "\ufeffa\n"))["text"].to_list() == ["a"]
    assert read_head(write("f", "\ufeffa\nb\n")) == ["a", "b", ""]


def test_undecodable_lines_are_marked_one_by_one(write: Write) -> None:
    frame = lines_of(write("f", b"good\nna\xefve\n\xef\xbf\xbd\n"))
    assert frame["readable"].to_list() == [True, False, True]
    assert lines_of(write("f", b"na\xefve\n"), "latin-1")["text"].to_list() == ["na\u00efve"]


def test_nul_bytes_far_down_mark_their_line(write: Write) -> None:
    frame = lines_of(write("f", b"a\n" * 50_000 + b"b\0\nc\n"))
    assert frame.filter(~pl.col("readable"))["line"].to_list() == [50_001]


def test_utf_16_is_read_where_it_is_asked_for(write: Write) -> None:
    path = write("f", "ä\nb\n", "utf-16")
    assert lines_of(path, "utf-16")["text"].to_list() == ["ä", "b"]
    with pytest.raises(DataError, match=r"UTF-16.*iconv"):
        lines_of(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"\x00\x01\x02binary", "binary data"),
        (b"PK\x03\x04rest", "zip archive.*[Uu]npack"),
        (b"\x1f\x8brest", "gzip file"),
        (b"BZh9rest", "bzip2 file"),
        (b"\xfd7zXZ\0rest", "an xz file"),
        (b"\x28\xb5\x2f\xfdrest", "Zstandard"),
        (b"r.csv".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
    ],
)
def test_what_is_no_text_is_refused(write: Write, content: bytes, words: str) -> None:
    path = write("f", content)
    for read in (lines_of, read_head):
        with pytest.raises(DataError, match=words):
            read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        for read in (lines_of, read_head, is_utf8):
            with pytest.raises(DataError, match="readable file"):
                read(path)


def test_an_unknown_encoding_is_a_config_error(write: Write) -> None:
    with pytest.raises(ConfigError, match="klingon"):
        lines_of(write("f", "a"), "klingon")


def test_is_utf8_looks_at_the_whole_file(write: Write) -> None:
    assert is_utf8(write("f", "a" * 1000 + "ü"))
    assert not is_utf8(write("f", b"a" * 1000 + b"\xfc"))
    assert not is_utf8(write("f", "ü".encode()[:1]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8), min_size=1
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(1, 40),
)
def test_blocks_of_any_size_give_the_same_lines(write: Write, lines: list[str], end: str, block: int) -> None:
    path = write("f", "x" + end + end.join(lines) + end)
    frame = lines_of(path, block_bytes=block)
    expected = ["x", *lines]
    expected[0] = expected[0].removeprefix("\ufeff")
    assert frame["text"].to_list() == expected
    assert frame["line"].to_list() == list(range(1, len(expected) + 1))
