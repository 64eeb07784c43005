"""Items and their text: `ItemCatalog`, and the small templates that turn catalogue columns into item text.

An item is its id; titles repeat (18 titles of MovieLens-100K occur twice) and come from strangers, so nothing here
interprets them. Knows no prompt: `recalign.prompting` makes titles safe to embed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from recalign.data.schema import ITEMS, HistoryEntry, HistoryText
from recalign.errors import ConfigError, DataError

MISSING_TEXT: Final = "unknown"
HIDDEN_TITLES: Final = "hidden_titles"  # a column of a catalogue whose titles are keys, and nothing to be told by


class _Segment(NamedTuple):
    """Literal text and column names in turn; an `optional` segment vanishes where one of its columns has no value."""

    parts: list[tuple[str, str | None]]
    optional: bool


def render_item_text(items: pl.DataFrame, template: str) -> pl.Series:
    """Render one text per item from catalogue columns.

    A template is literal text with ``{column}`` placeholders, e.g. ``{title}``, ``"{title}" written by {author}``,
    ``{title} ({year})``, ``{title}; {genres}``. What stands in square brackets is left out where one of its columns has
    no value: ``{title}[ ({year})]``. Doubled braces and brackets (``{{``, ``[[``) stand for themselves. There is no
    attribute access, no index, no conversion and no format specification, so a template can do nothing but insert text.

    A value is missing if it is null, blank or an empty list. Outside of brackets it becomes ``unknown``. Lists are
    joined with ``", "``. Values are inserted as they are: braces or brackets in a title mean nothing.

    Returns:
        A String series named ``text``, aligned with `items`, without nulls.

    Raises:
        ConfigError: the template is malformed or names no column.
        DataError: the template names a column that `items` lacks.
    """
    segments = _parse(template)
    names = [column for segment in segments for _, column in segment.parts if column is not None]
    if not names:
        raise ConfigError(f"item text {template!r}", found="no placeholder", expected="text such as '{title}'")
    for name in names:
        if name not in items.columns:
            raise DataError(
                f"item text {template!r} needs the catalogue column {name!r}",
                found=", ".join(items.columns),
                hint="Name one of these columns in --item-text.",
            )
    values = {name: _text_column(items.schema[name], name) for name in names}
    return items.select(pl.concat_str(_render(segment, values) for segment in segments).alias("text"))["text"]


def _text_column(dtype: pl.DataType, name: str) -> pl.Expr:
    """The column as text, with null for every form of "no value"."""
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        text = column.list.eval(pl.element().cast(pl.String)).list.join(", ", ignore_nulls=True)
    else:
        text = column.cast(pl.String)
    return pl.when(text.str.strip_chars() != "").then(text)


def _render(segment: _Segment, values: dict[str, pl.Expr]) -> pl.Expr:
    pieces: list[pl.Expr] = []
    for literal, column in segment.parts:
        pieces.append(pl.lit(literal))
        if column is not None:
            pieces.append(values[column] if segment.optional else values[column].fill_null(MISSING_TEXT))
    return pl.concat_str(pieces).fill_null("")  # null where an optional segment has a missing value


def _parse(template: str) -> list[_Segment]:
    segments: list[_Segment] = []
    for text, optional in _bracketed(template):
        try:
            fields = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigError(f"item text {template!r}", found=str(error), expected="text such as '{title}'") from error
        for _, name, spec, conversion in fields:
            if name is not None and (spec or conversion or not name or set(name) & set(".[]{}!:")):
                raise ConfigError(
                    f"item text {template!r}",
                    found=f"the placeholder {name!r} with more than a name",
                    expected="plain column names such as {title}",
                )
        if fields:
            segments.append(_Segment([(literal, name) for literal, name, _, _ in fields], optional))
        if optional and not any(name for _, name, _, _ in fields):
            raise ConfigError(f"item text {template!r}", found=f"[{text}]", expected="a {column} inside the brackets")
    return segments


def _bracketed(template: str) -> Iterator[tuple[str, bool]]:
    """Split at single square brackets into (text, optional) pieces; doubled ones become single ones."""
    piece, inside = "", False
    # The empty token at the end closes the last piece.
    for token in re.findall(r"\[\[|\]\]|[\[\]]|[^\[\]]+|$", template):
        if token not in ("[", "]", ""):
            piece += token[0] if token in ("[[", "]]") else token
        elif inside != (token == "]"):
            found = f"an unmatched {token or '['!r}"
            raise ConfigError(f"item text {template!r}", found=found, expected="pairs of [ and ]")
        else:
            yield piece, inside
            piece, inside = "", not inside


class ItemCatalog:
    """All items of a domain with their texts. Immutable; `text` and `title` are dictionary look-ups.

    `hides_titles` says that prompts must tell nothing by title (a control).
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        """Wrap a table with the columns of `schema.ITEMS` and ``text`` (further columns may follow).

        Raises:
            DataError: a column is missing or of another type, an id is null or occurs twice, or a text is missing.
        """
        self.frame = _checked(frame)
        self.ids: tuple[str, ...] = tuple(frame["item_id"])
        self.hides_titles = HIDDEN_TITLES in frame.columns
        self._texts = dict(zip(self.ids, frame["text"], strict=True))
        self._titles = dict(zip(self.ids, frame["title"].fill_null(MISSING_TEXT), strict=True))

    @classmethod
    def from_items(cls, items: pl.DataFrame, template: str) -> ItemCatalog:
        """Render the texts of a reader's item table (`render_item_text`) and wrap it."""
        return cls(items.with_columns(render_item_text(items, template)))

    @classmethod
    def read(cls, path: Path) -> ItemCatalog:
        """Read an ``items.parquet``. Raises DataError where it cannot be read or is no catalogue."""
        try:
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            thing = f"cannot read the item table {path}"
            raise DataError(thing, found=str(error), expected="a Parquet file") from error
        return cls(frame)

    def write(self, path: Path) -> None:
        """Write the table as Parquet."""
        self.frame.write_parquet(path)

    def text(self, item_id: str) -> str:
        """The item's text, as rendered by `prepare`. Raises DataError for an unknown id."""
        return self._look_up(self._texts, item_id)

    def title(self, item_id: str) -> str:
        """The item's bare title. Raises DataError for an unknown id."""
        return self._look_up(self._titles, item_id)

    def with_texts(self, history: Iterable[HistoryEntry]) -> tuple[HistoryText, ...]:
        """A history as templates take it. Raises DataError for an unknown id."""
        return tuple(HistoryText(self.text(entry.item_id), entry.liked, entry.rating) for entry in history)

    def _look_up(self, table: dict[str, str], item_id: str) -> str:
        try:
            return table[item_id]
        except KeyError:
            expected = f"one of its {len(self)} item ids"
            raise DataError(f"item {item_id!r} is not in the catalogue", expected=expected) from None

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._texts


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    for name, dtype in {**ITEMS, "text": pl.String()}.items():
        if name not in frame.columns:
            raise DataError(f"the item table lacks the column {name!r}", found=", ".join(frame.columns))
        if frame.schema[name] != dtype:
            raise DataError(f"item table, column {name!r}", found=str(frame.schema[name]), expected=str(dtype))
    for name in ("item_id", "text"):
        if empty := frame[name].null_count():
            raise DataError(f"item table, column {name!r}", found=f"{empty} empty values", expected="none")
    repeated = frame["item_id"].filter(frame["item_id"].is_duplicated())
    if len(repeated):
        found = f"{repeated.n_unique()} that repeat, the first is {repeated[0]!r}"
        raise DataError("item ids must be unique", found=found)
    return frame
