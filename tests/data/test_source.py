"""The registry, and what holds for every reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.data.readers import READERS
from recalign.data.source import SourceOptions, read_source
from recalign.errors import ConfigError, DataError, RecalignError

Write = Callable[..., Path]
FILES = {
    "movielens-100k": ("u.data", "u.item"),
    "movielens": ("ratings.csv", "movies.csv"),
    "movietweetings": ("ratings.dat", "movies.dat"),
    "bookcrossing": ("BX-Book-Ratings.csv", "BX-Books.csv"),
    "netflix": ("combined_data_1.txt", "movie_titles.txt"),
    "amazon-books": ("Books_rating.csv", "books_data.csv"),
    "table": ("ratings.csv", "items.csv"),
}


def test_every_reader_has_a_licence_in_one_line() -> None:
    assert set(READERS.names()) == {*FILES, "synthetic", "alpaca-json"}
    for _, reader in READERS.all():
        assert reader.licence
        assert "\n" not in reader.licence


def test_an_unknown_dataset_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"'movielenz'.*bookcrossing, movielens, movielens-100k.*Did you mean movielens"
    ):
        read_source("movielenz", tmp_path)


def test_options_that_a_reader_does_not_heed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'separator' of dataset 'netflix'.*'table'"):
        read_source("netflix", tmp_path, SourceOptions(separator=";"))


@pytest.mark.parametrize("dataset", FILES)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\1\2\3" * 50,
        "user_id,item_id\nä,b\n".encode("utf-16"),
        b"\xff\xfe",
        b"\n",
        b"\r\n\r\n",
        b"hello",
        b'"\n"',
        b",,,\n",
        bytes(range(1, 256)) * 3,
        b"x" * 300_000,
    ],
)
def test_files_of_anything_else_are_one_line_errors(write: Write, dataset: str, content: bytes) -> None:
    for name in FILES[dataset]:
        path = write(name, content)
    with pytest.raises(DataError) as caught:
        read_source(dataset, path.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dataset", FILES)
def test_a_path_that_is_not_there(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(RecalignError, match="nothing there"):
        read_source(dataset, tmp_path / "nowhere")
