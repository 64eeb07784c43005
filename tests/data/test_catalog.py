"""Item texts and the catalogue."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.catalog import ItemCatalog, render_item_text
from recalign.data.schema import ITEMS
from recalign.errors import ConfigError, DataError


def items(**columns: list[object]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    base: dict[str, list[object]] = {"item_id": [str(row) for row in range(rows)], **columns}
    return pl.DataFrame({name: base.get(name, [None] * rows) for name in ITEMS}, schema=dict(ITEMS)).with_columns(
        pl.Series(name, values) for name, values in columns.items() if name not in ITEMS
    )


FILMS = items(title=["Heat", "Alien"], year=[1995, None], author=["Mann", " "], genres=[["Crime", "Drama"], []])


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{title}", ["Heat", "Alien"]),
        ('"{title}" written by {author}', ['"Heat" written by Mann', '"Alien" written by unknown']),
        ('"{title}"[ written by {author}]', ['"Heat" written by Mann', '"Alien"']),
        ("{title} ({year})", ["Heat (1995)", "Alien (unknown)"]),
        ("{title}[ ({year})]", ["Heat (1995)", "Alien"]),
        ("{title}; {genres}", ["Heat; Crime, Drama", "Alien; unknown"]),
        ("[{year} by {author}: ]{title}", ["1995 by Mann: Heat", "Alien"]),
        ("{{{title}}} [[{item_id}]]", ["{Heat} [0]", "{Alien} [1]"]),
    ],
)
def test_item_text_inserts_columns(template: str, expected: list[str]) -> None:
    assert render_item_text(FILMS, template).to_list() == expected


def test_item_text_takes_further_columns_of_any_simple_type() -> None:
    shoes = items(title=["Läufer"], Preis=[59.5], vorrätig=[True])
    assert render_item_text(shoes, "{title}, {Preis} EUR, {vorrätig}").to_list() == ["Läufer, 59.5 EUR, true"]


MALFORMED = ["", "no placeholder", "{title", "{}", "{title.__class__}", "{title[0]}", "{title!r}", "{title:>99}"]
MALFORMED += ["{a{b}}", "[{title}", "{title}]", "[bare]{title}", "[]{title}", "[{title}[{year}]]"]


@pytest.mark.parametrize("template", MALFORMED)
def test_anything_but_plain_placeholders_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="item text"):
        render_item_text(FILMS, template)


def test_a_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"'publisher'.*found item_id, title, year"):
        render_item_text(FILMS, "{publisher}")


# Without the four separators that Python's `strip` takes for blanks and Unicode's property White_Space does not.
TEXTS = st.text(st.characters(exclude_characters="\x1c\x1d\x1e\x1f", exclude_categories=["Cs"]))


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_values_are_inserted_as_they_are(title: str, author: str) -> None:
    text = render_item_text(items(title=[title], author=[author]), "<{title}|{author}>")[0]
    assert text == f"<{title if title.strip() else 'unknown'}|{author if author.strip() else 'unknown'}>"


def test_catalog_looks_up_text_and_title() -> None:
    catalog = ItemCatalog.from_items(FILMS, "{title}[ ({year})]")
    assert catalog.ids == ("0", "1")
    assert (catalog.text("0"), catalog.title("0")) == ("Heat (1995)", "Heat")
    assert "1" in catalog
    assert "2" not in catalog
    assert len(catalog) == 2
    with pytest.raises(DataError, match="item '2' is not in the catalogue"):
        catalog.text("2")


def test_catalog_comes_back_from_its_file(tmp_path: Path) -> None:
    catalog = ItemCatalog.from_items(FILMS, "{title}")
    catalog.write(tmp_path / "items.parquet")
    assert ItemCatalog.read(tmp_path / "items.parquet").frame.equals(catalog.frame)


@pytest.mark.parametrize("content", [None, b"", b"not parquet at all"])
def test_an_unreadable_item_table_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "items.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"items\.parquet"):
        ItemCatalog.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.lit("same").alias("item_id"), "'same'"),
        (pl.lit(None, pl.String).alias("text"), "2 empty values"),
        (pl.lit("1995").alias("year"), "found String; expected Int32"),
    ],
)
def test_a_catalogue_is_validated(change: pl.Expr, message: str) -> None:
    frame = FILMS.with_columns(render_item_text(FILMS, "{title}"))
    with pytest.raises(DataError, match=message):
        ItemCatalog(frame.with_columns(change))
    with pytest.raises(DataError, match="lacks the column 'text'"):
        ItemCatalog(frame.drop("text"))
