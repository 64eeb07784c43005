"""One reader per dataset format; every input line is parsed or rejected with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from recalign.data.sources import amazon, bookcrossing, movielens, netflix, table
from recalign.data.sources.base import FileAccount, Reader, SourceData, SourceOptions
from recalign.errors import ConfigError

__all__ = ["READERS", "FileAccount", "Reader", "SourceData", "SourceOptions", "read_source"]

_ITEMS: Final = frozenset({"items"})

READERS: Final[dict[str, Reader]] = {
    reader.name: reader
    for reader in (
        Reader("movielens-100k", movielens.LICENCE, _ITEMS, movielens.read_movielens_100k),
        Reader("movielens", movielens.LICENCE, _ITEMS, movielens.read_movielens),
        Reader("bookcrossing", bookcrossing.LICENCE, _ITEMS, bookcrossing.read_bookcrossing),
        Reader("netflix", netflix.LICENCE, _ITEMS, netflix.read_netflix),
        Reader("amazon-books", amazon.LICENCE, _ITEMS, amazon.read_amazon_books),
        Reader("table", table.LICENCE, frozenset(SourceOptions.model_fields), table.read_table),
    )
}


def read_source(dataset: str, path: Path, options: SourceOptions | None = None) -> SourceData:
    """Read a dataset.

    Args:
        dataset: A key of `READERS`.
        path: Its folder, or its ratings file.
        options: Column names and the like, for dataset ``table``; the items file, for all.

    Returns:
        Validated interactions and items, the account of every file, and the reject ledger.

    Raises:
        ConfigError: unknown dataset, or an option that its reader does not heed.
        DataError: a file is missing, empty, of another format, or holds no usable row.
    """
    reader = READERS.get(dataset)
    if reader is None:
        raise ConfigError(f"dataset {dataset!r}", found="no reader of that name", expected=", ".join(READERS))
    return reader.read(path, options or SourceOptions())
