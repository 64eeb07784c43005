from __future__ import annotations

import random
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.data.catalog import ItemCatalog
from recalign.data.matching import TitleIndex, edit_distances
from recalign.data.schema import ITEMS
from recalign.errors import DataError

TITLES = {
    "1": "Toy Story (1995)",
    "2": "Silence of the Lambs, The (1991)",
    "3": "Heat (1995)",
    "4": "Heat and Dust (1983)",
    "5": "Sabrina (1954)",
    "6": "Sabrina (1995)",
    "7": "Léon: The Professional (a.k.a. The Professional) (Léon) (1994)",
    "8": "Chasing Amy (1997)",
    "9": "Chasing Amy (1997)",
    "10": "M*A*S*H (1970)",
    "11": "Rocky III (1982)",
    "12": "Godfather, The (1972)",
    "13": "Godfather: Part II, The (1974)",
    "14": "Seven (a.k.a. Se7en) (1995)",
    "15": "1984 (1984)",
    "16": "Die Hard (1988)",
    "1984": "Quiz Show (1994)",
    "18": "Boot, Das (1981)",
    "19": "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
    "20": "E.T. the Extra-Terrestrial (1982)",
    "21": "???",
}


def catalogue(titles: dict[str, str | None], years: dict[str, int] | None = None) -> ItemCatalog:
    rows = [(item_id, title, (years or {}).get(item_id), None, None) for item_id, title in titles.items()]
    frame = pl.DataFrame(rows, schema=ITEMS, orient="row")
    return ItemCatalog(frame.with_columns(text='"' + pl.col("title").fill_null("unknown") + '"'))


@pytest.fixture(scope="module")
def index() -> TitleIndex:
    return TitleIndex(catalogue(dict(TITLES)))


@pytest.mark.parametrize(
    ("query", "item_id", "how"),
    [
        ("3", "3", "id"),
        ("id:1984", "1984", "id"),
        ("Heat (1995)", "3", "title"),
        ('"Heat (1995)"', "3", "title"),
        ("heat", "3", "title"),
        ("  HEAT   (1995) ", "3", "title"),
        ("heat 1995", "3", "title"),
        ("The Silence of the Lambs", "2", "title"),
        ("the silence of the lambs (1991)", "2", "title"),
        ("Silence of the Lambs, The", "2", "title"),
        ("Silence of the Lambs", "2", "other name"),
        ("Sabrina (1954)", "5", "title"),
        ("leon", "7", "other name"),
        ("The Professional", "7", "other name"),
        ("Leon: the professional", "7", "other name"),
        ("MASH", "10", "title"),
        ("godfather", "12", "other name"),
        ("Godfather Part II", "13", "other name"),
        ("The Godfather Part II", "13", "title"),
        ("Se7en", "14", "other name"),
        ("seven (1995)", "14", "other name"),
        ("das boot", "18", "title"),
        ("boot", "18", "other name"),
        ("La cité des enfants perdus", "19", "other name"),
        ("Cite des enfants perdus", "19", "other name"),
        ("ET the extraterrestrial", "20", "title"),
        ("toy", "1", "part of title"),
        ("lambs", "2", "part of title"),
        ("lost children", "19", "part of title"),
        ("children city", "19", "part of title"),
        ("Silense of the Lmabs", "2", "typing error"),
        ("Toy Stroy (1995)", "1", "typing error"),
        ("godfahter", "12", "typing error"),
        ("???", "21", "title"),
    ],
)
def test_forgiving(index: TitleIndex, query: str, item_id: str, how: str) -> None:
    found = index.match(query)
    assert (found.item_id, found.how) == (item_id, how)
    assert (found.query, found.title) == (query, TITLES[item_id])


@pytest.mark.parametrize(
    "query",
    [
        "Heat (1996)",  # a wrong year is another film, not a slip
        "Rocky II",  # so is another numeral
        "Rocky 3",
        "Up",
        "!!!",
        "Xylophone Concerto",
        "He",
        "id:4711",
    ],
)
def test_another_item_is_never_guessed(index: TitleIndex, query: str) -> None:
    with pytest.raises(DataError, match="no item has the title"):
        index.match(query)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("Sabrina", ["5", "6"]),
        ("Chasing Amy (1997)", ["8", "9"]),
        ("chasing amy", ["8", "9"]),
        ("1984", ["15", "1984"]),  # an id and a title
        ("the god", ["12", "13"]),
    ],
)
def test_ambiguous_titles_list_their_ids(index: TitleIndex, query: str, ids: list[str]) -> None:
    with pytest.raises(DataError) as error:
        index.match(query)
    message = str(error.value)
    assert f"fits {len(ids)} items" in message
    assert all(f"id:{item_id}" in message and TITLES[item_id] in message for item_id in ids)
    assert "\n" not in message
    assert index.match(f"id:{ids[0]}").item_id == ids[0]


def test_nearest_titles_are_named(index: TitleIndex) -> None:
    with pytest.raises(DataError, match=r'nearest: "Silence of the Lambs, The \(1991\)" = id:2'):
        index.match("Silence of Dogs and Lambs (1991)")
    with pytest.raises(DataError, match="nothing like it"):
        index.match("qqqq")


def test_empty_query_is_an_error(index: TitleIndex) -> None:
    with pytest.raises(DataError, match="an empty title"):
        index.match("  ")


def test_years_of_a_column_count_too() -> None:
    index = TitleIndex(
        catalogue({"1": "Dinosaur Planet", "2": "Solaris", "3": "Solaris"}, {"1": 2003, "2": 1972, "3": 2002})
    )
    assert index.match("Dinosaur Planet (2003)").item_id == "1"
    assert index.match("solaris (2002)").item_id == "3"
    assert index.match("solaris 1972").item_id == "2"
    with pytest.raises(DataError, match=r'"Solaris" \(1972\) = id:2, "Solaris" \(2002\) = id:3'):
        index.match("solaris")


def test_items_without_a_title_are_found_by_id_only() -> None:
    index = TitleIndex(catalogue({"a": None, "b": "Unknown Pleasures (2002)"}))
    assert index.match("a").item_id == "a"
    assert index.match("unknown").item_id == "b"


def test_long_lists_are_cut() -> None:
    index = TitleIndex(catalogue({str(n): f"Star Trek {word} (1990)" for n, word in enumerate("abcdefghijkl", 100)}))
    with pytest.raises(DataError, match="and 4 more"):
        index.match("star trek")


def test_errors_carry_no_control_characters() -> None:
    index = TitleIndex(catalogue({"1": "Evil \x1b[2J\x1b]0;owned\x07Title (1990)", "2": "Evil\u202e Title (1991)"}))
    with pytest.raises(DataError) as error:
        index.match("evil \x1b[31mtitle")
    assert str(error.value).isprintable()


def test_index_does_not_depend_on_the_order_of_the_catalogue() -> None:
    items = list(TITLES.items())
    random.Random(5).shuffle(items)
    shuffled = TitleIndex(catalogue(dict(items)))
    for query in ("godfahter", "leon", "lambs", "1984 (1984)"):
        assert shuffled.match(query).item_id == TitleIndex(catalogue(dict(TITLES))).match(query).item_id


def _slow_distance(a: str, b: str) -> int:
    table = [[i + j if not i * j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@given(st.text("abc", max_size=6), st.lists(st.text("abc", max_size=7), max_size=4))
def test_edit_distances_equal_the_textbook_table(word: str, others: list[str]) -> None:
    assert edit_distances(word, others).tolist() == [_slow_distance(word, other) for other in others]


def test_large_catalogue_is_quick() -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(2000)]
    titles: dict[str, str | None] = {str(n): " ".join(rng.choices(words, k=3)) for n in range(20_000)}
    index = TitleIndex(catalogue(titles))
    title = titles["777"]
    assert title is not None
    start = time.perf_counter()
    assert index.match(title[:5] + title[6:]).item_id == "777"
    assert time.perf_counter() - start < 5


@pytest.mark.real_data
def test_every_real_title_finds_its_item(real_data: Path) -> None:
    lines = (real_data / "ml-100k" / "u.item").read_text(encoding="latin-1").splitlines()
    titles: dict[str, str | None] = {line.split("|")[0]: line.split("|")[1] for line in lines}
    index = TitleIndex(catalogue(titles))
    shared = {title for title in titles.values() if list(titles.values()).count(title) > 1}
    assert len(shared) == 18
    for item_id, title in titles.items():
        assert title is not None
        if title in shared:
            with pytest.raises(DataError, match=f"fits 2 items.* = id:{item_id}\\b"):
                index.match(title)
        else:
            assert index.match(title).item_id == item_id
