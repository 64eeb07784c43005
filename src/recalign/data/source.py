"""What every reader of ratings takes and gives: `SourceOptions` in, `SourceData` with its line accounts out.

Knows no format: those are in `recalign.data.readers`, one file each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from recalign.data.interactions import type_problems
from recalign.data.parsing.accounting import FileAccount, RejectLedger
from recalign.data.parsing.times import TimeUnit
from recalign.data.reader import RatingsGenerator, RatingsReader
from recalign.data.readers import READERS
from recalign.data.schema import INTERACTIONS, ITEMS
from recalign.errors import ConfigError, did_you_mean

RATING_COLUMNS: Final = ("user_id", "item_id", "rating", "timestamp", "liked")
ITEM_COLUMNS: Final = tuple(ITEMS)


def _names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


ColumnNames = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Names of columns in their order, also as one text with commas between them."""


@dataclass(frozen=True)
class SourceData:
    """Ratings and items of one dataset, validated.

    Attributes:
        interactions: `schema.INTERACTIONS`; at most one row per (user, item); each item is in `items`. Ids are text, or
            Enums in natural order (`recalign.data.codes`).
        items: `schema.ITEMS` and further columns; `item_id` is unique, `title` is neither null nor blank.
        accounts: One per file that was read.
        rejects: Every line that is in neither table.
        licence: Under which terms the data may be used, in one line.
        time_form: How the times were written, in words; empty where the format settles it, or there are none.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    accounts: tuple[FileAccount, ...]
    rejects: RejectLedger
    licence: str
    time_form: str = ""

    def __post_init__(self) -> None:
        if self.interactions.columns != list(INTERACTIONS) or any(type_problems(self.interactions)):
            raise ValueError(f"interactions have the schema {dict(self.interactions.schema)}, not {INTERACTIONS}")
        if any(self.items.schema.get(name) != kind for name, kind in ITEMS.items()):
            raise ValueError(f"items have the schema {dict(self.items.schema)}, not {ITEMS}")


class SourceOptions(BaseModel):
    """How to read a source. A reader heeds those that its record names; `table` reads the user's own files by them.

    Attributes:
        columns: Our column name -> name in the ratings file. Ours are `user_id`, `item_id`, `rating`, `timestamp`,
            `liked` (a yes/no column instead of `rating`) and, where titles stand in the ratings file, `title`,
            `year`, `author`, `genres`. A column that already has our name needs no mapping. An empty name switches a
            column off.
        item_columns: The same for the items file; what it does not name falls back to `columns`, then to our name.
        header: Names of the columns of a ratings file that does not begin with them, in their order. A blank one is not
            used. `columns` maps them as it maps those in a file.
        item_header: The same for the items file.
        separator: Of CSV; ``\\t`` is a tab. Found from the header where None.
        encoding: Text encoding, e.g. ``latin-1``; UTF-8 where None.
        items: The items file, where it does not lie beside the ratings under a known name. For generated data their
            number.
        catalogue: Which of the reader's catalogues; its first one where None.
        users: Number of users of generated data.
        ratings_per_user: Mean number of ratings per user of generated data.
        bare_answers: In a file of finished samples, take an answer without its full stop: "Yes" for "Yes.".
        seed: Root of all randomness of generated data.
        time_unit: Unit of times that are numbers; found by their size where None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, str] = Field(default_factory=dict)
    item_columns: dict[str, str] = Field(default_factory=dict)
    header: ColumnNames | None = None
    item_header: ColumnNames | None = None
    separator: str | None = None
    encoding: str | None = None
    items: int | Path | None = None
    catalogue: str | None = None
    users: int | None = None
    ratings_per_user: int | None = None
    bare_answers: bool = False
    seed: int = 0
    time_unit: TimeUnit | None = None

    @property
    def items_file(self) -> Path | None:
        """`items` of a dataset that is read from files."""
        return self.items if isinstance(self.items, Path) else None

    @field_validator("columns", "item_columns")
    @classmethod
    def _known_columns(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        known = tuple(dict.fromkeys(RATING_COLUMNS + ITEM_COLUMNS)) if info.field_name == "columns" else ITEM_COLUMNS
        if strange := sorted(set(value) - set(known)):
            raise ValueError(_unknown_column(strange[0], value[strange[0]], known))
        return value

    @field_validator("separator")
    @classmethod
    def _separator(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.replace("\\t", "\t")  # as it is typed in a shell
        if not value or set(value) & set('"\r\n'):
            raise ValueError(f"a separator is at least one character, and no quote or line end, not {value!r}")
        return value

    @field_validator("header", "item_header")
    @classmethod
    def _distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = [name for name in value or () if name]
        if value is not None and (not names or len(set(names)) < len(names)):
            raise ValueError(f"a header is different names, such as user_id,item_id,rating; not {','.join(value)!r}")
        return value


def _unknown_column(name: str, theirs: str, known: tuple[str, ...]) -> str:
    """What is wrong with a mapping of a name that is none of ours: it may be the wrong way round, or misspelt."""
    swapped = f"Our name comes first: write {theirs}={name}" if theirs in known else ""
    hint = swapped or did_you_mean(name, known)
    return f"unknown column {name!r}; ours are {', '.join(known)}{hint and f'. {hint}'}"


def read_source(dataset: str, path: Path | None, options: SourceOptions | None = None) -> SourceData:
    """Read a dataset of ratings.

    Args:
        dataset: One of `recalign.data.readers.READERS`.
        path: Its folder, or its ratings file; None for generated data.
        options: Column names and the like, where the reader heeds them (`Reader.options`).

    Raises:
        ConfigError: There is no such dataset, it has no ratings, or its reader does not heed an option.
        DataError: A file is missing, empty, of another format, or holds no usable row.
    """
    reader, options = READERS.find(dataset), options or SourceOptions()
    if foreign := sorted(set(options.model_dump(exclude_defaults=True)) - reader.options):
        raise ConfigError(
            f"option {foreign[0]!r} of dataset {dataset!r}",
            found=repr(getattr(options, foreign[0])),
            expected="none: the format is fixed",
            hint="Leave it out, or read the file as dataset 'table'",
        )
    if isinstance(reader, RatingsGenerator):
        return reader.generate(options)
    if not isinstance(reader, RatingsReader):
        raise ConfigError(f"dataset {dataset!r}", found="finished samples", expected="a dataset of ratings")
    if path is None:
        raise ConfigError(f"dataset {dataset!r}", found="no input path", expected="its folder or ratings file")
    return reader.read(path, options)
