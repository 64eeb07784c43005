"""Helpers for the reader tests: files from text, and the one check that holds for whatever a reader returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.data.source import SourceData


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file below a temporary folder; text as UTF-8 unless told otherwise, bytes as they are."""

    def write_file(name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write_file


@pytest.fixture
def check_books() -> Callable[[SourceData], None]:
    """Whatever was read: ids and titles are there, pairs are unique, and lines, tables and ledger agree."""

    def check(data: SourceData) -> None:
        ratings, items = data.interactions, data.items
        assert ratings["order"].to_list() == list(range(ratings.height))
        assert ratings.select("user_id", "item_id").null_count().sum_horizontal().item() == 0
        assert not ratings.select("user_id", "item_id").is_duplicated().any()
        assert items["item_id"].is_unique().all()
        assert items["title"].null_count() == 0
        assert (items["title"].str.strip_chars() != "").all()
        assert ratings["item_id"].is_in(items["item_id"].implode()).all()
        assert ratings["timestamp"].null_count() in (0, ratings.height)
        rejected = data.rejects.frame()
        for account in data.accounts:
            assert account.lines == account.header + account.parsed + account.rejected
        assert rejected["lines"].sum() == sum(account.rejected for account in data.accounts)
        assert data.licence
        covered = [line for start, n in rejected.select("line", "lines").rows() for line in range(start, start + n)]
        if rejected["source"].n_unique() == 1:
            assert len(covered) == len(set(covered))

    return check
