"""Part files and pipes among a dataset's files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.data.parsing.files import find_all, find_table, part_files
from recalign.errors import DataError

Write = Callable[..., Path]


def test_parts_come_by_name_and_number(write: Write) -> None:
    for name in ("part-10.csv", "part-2.csv", "part-1.csv", "_SUCCESS", ".part-1.csv.crc", "part-1.csv.crc"):
        folder = write(f"r/{name}", "x").parent
    assert [part.name for part in part_files(folder, "x")] == ["part-1.csv", "part-2.csv", "part-10.csv"]
    assert [part.name for part in part_files(folder, "x", but=folder / "part-2.csv")] == ["part-1.csv", "part-10.csv"]
    assert part_files(folder / "part-1.csv", "x") == [folder / "part-1.csv"]


def test_names_as_hive_and_others_write_them(write: Write) -> None:
    for name in ("000000_0", "000001_0", "20240501_102030_00007_a_1b2c"):
        folder = write(f"r/{name}", "x").parent
    assert len(part_files(folder, "x")) == 3


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), r"an empty folder; expected ratings.csv, or numbered part files"),
        (("_SUCCESS",), r"a folder with _SUCCESS"),
        (("train.csv", "test.csv"), r"a folder with test.csv, train.csv.*numbered part files"),
        (("part-1.csv", "README"), r"README"),
        (("part-1.csv", "more/part-2.csv"), r"Give one file, or one folder"),
        (("day=2024-05-01/part-1.csv", "day=2024-05-02/part-1.csv"), r"Names of folders.*day=2024-05-0\d"),
    ],
)
def test_other_folders_are_refused(write: Write, tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    (tmp_path / "r").mkdir()
    for name in names:
        write(f"r/{name}", "x")
    with pytest.raises(DataError, match=words):
        part_files(tmp_path / "r", "ratings.csv")


def test_a_pipe_is_no_part_and_no_file_of_a_fixed_format(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    os.mkfifo(tmp_path / "r" / "part-1.csv")
    with pytest.raises(DataError, match="numbered part files"):
        part_files(tmp_path / "r", "x")
    with pytest.raises(DataError, match=r"a pipe or device.*'table'"):
        find_all(tmp_path / "r" / "part-1.csv", ["*"], "x")


def test_tables_are_found_by_name(write: Write) -> None:
    folder = write("Ratings.CSV.gz", "x").parent
    write("interactions.parquet/part-0.parquet", "x")
    assert find_table(folder, ("ratings", "interactions"), ("csv", "parquet")) == folder / "Ratings.CSV.gz"
    assert find_table(folder, ("interactions",), ("csv", "parquet")) == folder / "interactions.parquet"
    assert find_table(folder, ("items",), ("csv",)) is None
