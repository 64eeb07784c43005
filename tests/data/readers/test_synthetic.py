"""The generated source: seeded, fast, learnable from titles, and beatable priors."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from recalign.data.feedback import FeedbackConfig
from recalign.data.interactions import check_interactions
from recalign.data.readers.synthetic import Catalogue, generate
from recalign.data.splitting import SplitConfig, make_table, plan, resolve_protocol
from recalign.errors import ConfigError

CATALOGUES: tuple[Catalogue, ...] = ("movies", "books")


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_tables_are_valid_and_complete(catalogue: Catalogue) -> None:
    data = generate(catalogue, seed=4)
    check_interactions(data.interactions)
    assert 7_000 < len(data.interactions) < 11_000
    assert set(data.interactions["item_id"]) <= set(data.items["item_id"])
    assert data.interactions.select("user_id", "item_id").n_unique() == len(data.interactions)
    assert data.interactions.select("user_id", "timestamp").n_unique() == len(data.interactions)
    assert set(data.interactions["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert data.interactions["user_id"].n_unique() == 300
    assert data.items["title"].n_unique() == len(data.items) == 400
    assert data.items["author"].null_count() == (400 if catalogue == "movies" else 0)
    assert (data.accounts, len(data.rejects)) == ((), 0)


def test_the_seed_decides_everything() -> None:
    first, again, other = (generate("books", seed=seed, users=20) for seed in (1, 1, 2))
    assert first.interactions.equals(again.interactions)
    assert first.items.equals(again.items)
    assert not first.interactions.equals(other.interactions)
    assert not first.items.equals(other.items)


def test_both_domains_share_words_but_no_item_and_no_user() -> None:
    movies, books = (generate(catalogue) for catalogue in CATALOGUES)
    words = [set(" ".join(data.items["title"]).split()) for data in (movies, books)]
    assert len(words[0] & words[1]) > 40
    assert set(movies.items["item_id"]).isdisjoint(books.items["item_id"])
    assert set(movies.interactions["user_id"]).isdisjoint(books.interactions["user_id"])


def auc(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    difference = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


@pytest.mark.parametrize("catalogue", CATALOGUES)
@pytest.mark.parametrize("seed", [1, 2])
def test_words_in_titles_beat_the_priors_and_the_priors_beat_chance(catalogue: Catalogue, seed: int) -> None:
    data = generate(catalogue, seed=seed, users=600)
    feedback = FeedbackConfig(like_above=3)
    protocol = resolve_protocol("leave-one-out", data.interactions)
    samples = make_table(data.interactions, protocol, plan(protocol, SplitConfig(), feedback), feedback).frame()
    train, test = (samples.filter(pl.col("split") == split) for split in ("train", "test"))
    means = dict(train.group_by("item_id").agg(pl.col("label").mean()).iter_rows())
    themes = dict(data.items.select("item_id", pl.col("genres").list.first()).iter_rows())
    titles = dict(data.items.select("item_id", "title").iter_rows())
    words = {item: set(title.lower().split()) - {"the", "a", "too"} for item, title in titles.items()}
    scores: list[tuple[float, ...]] = []
    for item, history in test.select("item_id", "history").iter_rows():
        votes = [(entry["item_id"], 1 if entry["liked"] else -1) for entry in history]
        same_theme = sum(vote for other, vote in votes if themes[other] == themes[item])
        same_words = sum(vote for other, vote in votes if words[other] & words[item])
        scores.append((np.mean([vote for _, vote in votes]), means.get(item, 0.5), same_words, same_theme))
    table, labels = np.array(scores), test["label"].to_numpy()
    rate, item_mean, by_words, by_theme = (auc(labels, column) for column in table.T)
    assert min(rate, item_mean) > 0.53
    assert by_words > 0.6
    assert by_theme > auc(labels, table[:, 0] / 2 + table[:, 1]) + 0.05


@pytest.mark.parametrize("wrong", [{"users": 0}, {"ratings_per_user": 1}, {"items": 40, "ratings_per_user": 30}])
def test_impossible_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="synthetic data"):
        generate("movies", **wrong)
    with pytest.raises(ConfigError, match="synthetic catalogue 'shoes'"):
        generate("shoes")  # type: ignore[arg-type]


def test_few_titles_become_sequels_not_duplicates() -> None:
    data = generate("books", items=3000, users=5)
    assert data.items["title"].n_unique() == 3000
