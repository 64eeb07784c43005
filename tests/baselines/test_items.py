"""Items as rows, histories as arrays."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.baselines.items import DISLIKED, LIKED, NO_FEEDBACK, ItemIndex, embedding_rows, trained_items
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry, Sample
from recalign.data.schema import ITEMS
from recalign.errors import DataError


def catalog(titles: Mapping[str, str | None]) -> ItemCatalog:
    rows = [(item, title, None, None, None) for item, title in titles.items()]
    return ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")


def entries(*pairs: tuple[str, bool]) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(item, liked) for item, liked in pairs)


INDEX = ItemIndex(catalog({"a": "A", "b": "B", "c": "C"}))


def test_short_histories_are_padded_with_the_last_item_and_its_feedback() -> None:
    found = INDEX.histories([entries(("a", True), ("b", False)), entries(("c", True))], 4)
    assert found.items.tolist() == [[1, 2, 2, 2], [3, 3, 3, 3]]
    assert found.feedback.tolist() == [[LIKED, DISLIKED, DISLIKED, DISLIKED], [LIKED] * 4]


def test_long_histories_keep_their_newest_entries() -> None:
    found = INDEX.histories([entries(("a", True), ("b", False), ("c", True))], 2)
    assert found.items.tolist() == [[2, 3]]
    assert found.feedback.tolist() == [[DISLIKED, LIKED]]


def test_an_empty_history_is_no_item_without_feedback() -> None:
    found = INDEX.histories([(), entries(("b", True)), ()], 2)
    assert found.items.tolist() == [[0, 0], [2, 2], [0, 0]]
    assert found.feedback.tolist() == [[NO_FEEDBACK] * 2, [LIKED] * 2, [NO_FEEDBACK] * 2]
    assert INDEX.histories([()], 3).items.shape == (1, 3)
    assert INDEX.histories([], 3).items.shape == (0, 3)


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=8), max_size=6), st.integers(1, 5))
def test_every_history_comes_out_as_it_would_alone(histories: list[list[tuple[str, bool]]], length: int) -> None:
    rows = [entries(*pairs) for pairs in histories]
    together = INDEX.histories(rows, length)
    for place, row in enumerate(rows):
        alone = INDEX.histories([row], length)
        assert together.items[place].tolist() == alone.items[0].tolist()
        assert together.feedback[place].tolist() == alone.feedback[0].tolist()
        newest = [INDEX.catalog.ids.index(entry.item_id) + 1 for entry in row[-length:]]
        assert alone.items[0][: len(newest)].tolist() == newest


def test_an_item_outside_of_the_catalogue_is_named() -> None:
    with pytest.raises(DataError, match="item 'x' is not in the catalogue"):
        INDEX.histories([entries(("x", True))], 2)


def test_trained_items_are_targets_and_histories() -> None:
    samples = [Sample("1", "u", "b", 1, entries(("c", True))), Sample("2", "u", "a", 0, entries(("b", False)))]
    assert trained_items(samples) == ("a", "b", "c")


def trained(titles: Mapping[str, str | None]) -> pl.DataFrame:
    return catalog(titles).frame


def test_rows_of_the_same_dataset_go_by_id_even_where_titles_repeat() -> None:
    titles: dict[str, str | None] = {"1": "Same", "2": "Same", "3": None}
    assert embedding_rows(trained(titles), catalog(titles)).tolist() == [0, 1, 2, 3]
    assert embedding_rows(trained({"2": "Same"}), catalog(titles)).tolist() == [0, 1, 1, 0]


def test_another_dataset_goes_by_title_and_never_by_an_id_alone() -> None:
    own = trained({"1": "Heat (1995)", "2": "Alien (1979)", "3": "Twins", "4": "Twins", "5": None})
    other = catalog({"2": "HEAT (1995)", "1": "Unheard of", "9": "Twins", "5": "Brazil", "7": None})
    # 2 is another film here and found by its title; "Twins" are two; items without a title are found by nothing
    assert embedding_rows(own, other).tolist() == [0, 1, 0, 0, 0, 0]
