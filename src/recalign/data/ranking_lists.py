"""Ranking candidates: per liked target the target and 50 seeded negatives, frozen as files that all models share.

A list belongs to a sample whose target is liked (the truth). Its negatives are drawn uniformly, without repeats, from
the catalogue items that the sample's user has met in no split, neither as a target nor in a history, liked or not; nor
is an item drawn whose text is that of an item the user has met (other editions of a book, the 18 titles that
MovieLens-100K lists twice), since a model that reads text could not tell them apart. With implicit feedback sampled
negatives were not met. What the prepared data does not show (interactions that its protocol left out) is not known.

The order within a list is shuffled by seed. A list does not depend on the other lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recalign.artifacts import Manifest, find_finished, read_manifest, write_directory
from recalign.data.samples import SampleSet, liked_rows
from recalign.errors import ArtifactError, DataError
from recalign.seeding import generator

KIND: Final = "ranking-candidates"
FILE: Final = "candidates.parquet"
_SCHEMA: Final = {
    "sample_id": pl.String(),
    "user_id": pl.String(),
    "truth": pl.String(),
    "item_ids": pl.List(pl.String()),
}


class RankingConfig(BaseModel):
    """How ranking candidates are drawn; the defaults are TLRec's (§5.1.3: 51 items)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    negatives: int = Field(50, ge=1, description="Negatives beside each liked target.")
    seed: int = Field(0, ge=0, description="Seed of the draw and of the order within a list.")
    split: str = Field("test", description="Split whose liked targets are ranked.")


@dataclass(frozen=True, slots=True)
class RankingList:
    """The candidates of one sample: distinct items, the truth among them, in an order shuffled by seed."""

    sample_id: str
    user_id: str
    truth: str
    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankingStatistics:
    """Samples and users of the split; lists (samples whose target is liked), their users, items per list."""

    samples: int
    users: int
    lists: int
    list_users: int
    items_per_list: int


def ranking_candidates(
    samples: SampleSet, config: RankingConfig, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[RankingList], RankingStatistics]:
    """Draw the candidates of every liked target of a split, in the order of the table.

    `progress` is told how many lists are drawn, of how many.

    Raises:
        ConfigError: There is no such split.
        DataError: The split has no liked target, or the catalogue too few items that a user has not met.
    """
    frame = samples.frame(config.split)
    liked = liked_rows(frame, config.split)
    ids = np.array(samples.catalog.ids, dtype=object)
    texts = np.unique([samples.catalog.text(item) for item in samples.catalog.ids], return_inverse=True)[1]
    place = {item: number for number, item in enumerate(samples.catalog.ids)}
    unmet: dict[str, NDArray[np.intp]] = {}
    for user, items in _met(samples, liked["user_id"]).iter_rows():
        met = np.zeros(int(texts.max()) + 1, dtype=bool)
        met[texts[[place[item] for item in items]]] = True
        unmet[user] = np.flatnonzero(~met[texts])
    lists = []
    for sample, user, truth in liked.select("sample_id", "user_id", "item_id").iter_rows():
        lists.append(RankingList(sample, user, truth, _draw(ids, unmet[user], sample, user, truth, config)))
        progress(len(lists), liked.height)
    return lists, RankingStatistics(
        samples=frame.height,
        users=frame["user_id"].n_unique(),
        lists=len(lists),
        list_users=len(unmet),
        items_per_list=config.negatives + 1,
    )


def _draw(
    ids: NDArray[np.object_], unmet: NDArray[np.intp], sample: str, user: str, truth: str, config: RankingConfig
) -> tuple[str, ...]:
    if unmet.size < config.negatives:
        raise DataError(
            f"user {user!r} has met nearly all of the {ids.size} catalogue items",
            found=f"{unmet.size} others",
            expected=f"at least {config.negatives}",
            hint="Ask for fewer --negatives.",
        )
    rng = generator(config.seed, "ranking-candidates", sample)
    drawn = ids[rng.choice(unmet, config.negatives, replace=False)].tolist()
    drawn.insert(int(rng.integers(config.negatives + 1)), truth)  # choice shuffles the negatives already
    return tuple(drawn)


def _met(samples: SampleSet, users: pl.Series) -> pl.DataFrame:
    """Each of these users with the distinct items that any split shows of them: `user_id`, `item_id` (a list)."""
    frame = samples.frame().filter(pl.col("user_id").is_in(users.unique().implode()))
    entries = frame.select("user_id", "history").explode("history").drop_nulls("history").unnest("history")
    targets = frame.select("user_id", "item_id", liked=pl.col("label") == 1)
    both = pl.concat([targets, entries.select("user_id", "item_id", "liked")])
    if samples.implicit:
        both = both.filter("liked")
    return both.select("user_id", "item_id").unique().group_by("user_id").agg("item_id")


def write_ranking_candidates(
    directory: Path,
    lists: Sequence[RankingList],
    statistics: RankingStatistics,
    config: RankingConfig,
    *,
    parent: str,
    overwrite: bool = False,
) -> Manifest:
    """Freeze what `ranking_candidates` returned as an artefact of kind ``ranking-candidates``.

    `parent` is the fingerprint of the prepared data. The statistics stand in ``info["statistics"]``.

    Raises:
        ArtifactError: The directory exists or cannot be written.
    """
    rows = [(ranking.sample_id, ranking.user_id, ranking.truth, list(ranking.item_ids)) for ranking in lists]
    info = {"statistics": asdict(statistics)}
    parents = {"samples": parent}
    with write_directory(directory, KIND, config=config, parents=parents, info=info, overwrite=overwrite) as staging:
        pl.DataFrame(rows, schema=_SCHEMA, orient="row").write_parquet(staging / FILE)
    return read_manifest(directory, kind=KIND, verify=False)


def find_drawn(
    directory: Path, samples: SampleSet, config: RankingConfig, *, overwrite: bool = False
) -> RankingStatistics | None:
    """The counts of what `directory` holds, where it was drawn from this data by these settings; else None.

    Raises:
        ArtifactError: There is something else and it is not to be replaced, or something damaged.
    """
    parents = {"samples": samples.fingerprint}
    done = find_finished(directory, KIND, config=config, parents=parents, replace=overwrite)
    return None if done is None else RankingStatistics(**done.info["statistics"])


def read_ranking_candidates(directory: Path, samples: SampleSet) -> tuple[list[RankingList], Manifest]:
    """Read what `write_ranking_candidates` wrote for these samples.

    Raises:
        ArtifactError: There is none, it was altered or damaged, or it was drawn from other data.
    """
    manifest = read_manifest(directory, kind=KIND)
    if manifest.parents.get("samples") != samples.fingerprint:
        raise ArtifactError(
            f"ranking candidates {directory}",
            found=f"candidates of data {manifest.parents.get('samples', 'unknown')[:12]}",
            expected=f"those of {samples.path} ({samples.fingerprint[:12]})",
            hint=f"Draw them: recalign candidates {samples.path} --output DIR",
        )
    rows = pl.read_parquet(directory / FILE).iter_rows()
    return [RankingList(sample, user, truth, tuple(items)) for sample, user, truth, items in rows], manifest
