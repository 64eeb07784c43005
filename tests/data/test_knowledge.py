"""What other users think of a title, counted so that nobody's label tells itself."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.catalog import ItemCatalog
from recalign.data.knowledge import FOLDS, TitleKnowledge, fold_of, title_key
from recalign.data.schema import ITEMS, HistoryEntry
from recalign.errors import DataError

TITLES = {"a": "Matrix, The (1999)", "b": "The Matrix (1999)", "c": "Matrix (2021)", "d": "???"}


def catalog(titles: dict[str, str] = TITLES) -> ItemCatalog:
    rows = [{"item_id": item, "title": title} for item, title in titles.items()]
    return ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS), "{title}")


def counted(users: dict[str, dict[str, bool]]) -> TitleKnowledge:
    items = catalog()
    return TitleKnowledge.count(
        (items, user, [HistoryEntry(item, liked) for item, liked in likes.items()]) for user, likes in users.items()
    )


def test_titles_that_are_one_are_counted_together() -> None:
    known = counted({"u1": {"a": True, "c": False}, "u2": {"b": True}, "u3": {"a": False}})
    fold = next(fold for fold in range(FOLDS) if fold not in {fold_of(user) for user in ("u1", "u2", "u3")})
    mean = 2 / 4
    above, below = 2 / 3 - 0.5, 1 / 3 - 0.5  # of two events of u1; the others have one, which is in the middle
    first, later, never = (known.opinion(key, fold) for key in (title_key(TITLES["b"]), title_key(TITLES["c"]), "none"))
    assert first == (pytest.approx((2 + 5 * mean) / (3 + 5)), 3, pytest.approx(above / 8, rel=0.01))
    assert later == (pytest.approx(5 * mean / 6), 1, pytest.approx(below / 6, rel=0.01))
    assert never == (mean, 0, 0)
    assert title_key("???") == "???"


@settings(max_examples=40, deadline=None)
@given(
    likes=st.dictionaries(
        st.sampled_from([f"u{number}" for number in range(12)]),
        st.dictionaries(st.sampled_from(sorted(TITLES)), st.booleans(), min_size=1),
        min_size=1,
    ),
    data=st.data(),
)
def test_no_label_of_a_user_changes_what_is_said_to_them(
    likes: dict[str, dict[str, bool]], data: st.DataObject
) -> None:
    user = data.draw(st.sampled_from(sorted(likes)))
    turned = {**likes, user: {item: not liked for item, liked in likes[user].items()}}
    without = {name: items for name, items in likes.items() if name != user}
    for title in TITLES.values():
        said = counted(likes).opinion(title_key(title), fold_of(user))
        assert said == counted(turned).opinion(title_key(title), fold_of(user))
        assert said == counted(without).opinion(title_key(title), fold_of(user))
        assert 0 <= said.share <= 1
        assert -0.5 <= said.rank <= 0.5


def test_counts_of_two_are_counts_of_all() -> None:
    one = {"u1": {"a": True, "c": False}, "u2": {"d": True}}
    other = {"v1": {"b": False, "d": False}, "v2": {"a": True}}
    both = counted(one).with_counts(counted(other))
    for title in TITLES.values():
        for fold in range(FOLDS):
            assert both.opinion(title_key(title), fold) == counted(one | other).opinion(title_key(title), fold)


def test_counts_are_read_as_they_were_written(tmp_path: Path) -> None:
    known = counted({f"u{number}": {"a": number % 2 == 0, "d": True} for number in range(9)})
    known.write(tmp_path / "knowledge.parquet")
    read = TitleKnowledge.read(tmp_path / "knowledge.parquet")
    for key in (title_key(TITLES["a"]), "???"):
        assert [read.opinion(key, fold) for fold in range(FOLDS)] == [known.opinion(key, fold) for fold in range(FOLDS)]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    pl.DataFrame({"title": ["x"]}).write_parquet(tmp_path / "b.parquet")
    for name in ("a", "b", "missing"):
        with pytest.raises(DataError, match=f"title counts .*{name}.parquet"):
            TitleKnowledge.read(tmp_path / f"{name}.parquet")


def test_where_nobody_was_counted_half_is_said() -> None:
    assert counted({}).opinion("x", 0) == (0.5, 0, 0)
