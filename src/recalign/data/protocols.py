"""The protocols themselves, each in three steps over coded tables: which users, which targets of a block, which split.

A block holds whole users (`interactions.user_blocks`), so memory is bounded. Only `arrange` sees all samples, and then
without their histories. `recalign.data.splitting` says what the protocols mean and runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from recalign.data.sample_table import SPLIT
from recalign.data.schema import SPLITS
from recalign.errors import DataError
from recalign.seeding import generator

Order = Literal["time", "file", "shuffle"]
Ratios = tuple[int, int, int]

RECENT: Final = 10_000  # targets that TALLRec keeps of Movie


@dataclass(frozen=True, slots=True)
class Plan:
    """A protocol's parameters with every default filled in. With `folds`, `ratios` mean nothing.

    `order_seed` is None where no events are ordered by it, `holdout` where no block is held out.
    """

    max_history: int
    min_history: int
    order: Order
    ratios: Ratios
    negatives_in_history: bool
    seed: int
    order_seed: int | None = None
    holdout: int | None = None
    folds: int | None = None
    fold: int = 0
    test_users: int | None = None

    def described(self) -> dict[str, object]:
        """What the manifest records: what has a meaning here."""
        unused = {"folds", "fold"} if self.folds is None else {"ratios"}
        unused |= {name for name in ("order_seed", "holdout", "test_users") if getattr(self, name) is None}
        settings = {name: value for name, value in asdict(self).items() if name not in unused}
        return {"window": settings.pop("max_history"), **settings}  # the manifest's name, which is in fingerprints


Step = Callable[[pl.DataFrame, Plan], pl.DataFrame]


def everything(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The step that leaves nothing out."""
    return rows


@dataclass(frozen=True, slots=True)
class Protocol:
    """A named way to make samples.

    Attributes:
        arrange: Given all samples, users one after another, adds ``split`` and puts them into their final order; where
            `pick` has added it, they come as train, valid, test.
        orders: The orders of a user's interactions that it can use, its default first.
        min_history: Interactions that a target needs before it; None: a full window.
        narrow: Given all interactions, leaves out users that cannot have a sample.
        pick: Given the possible samples of a block of users, keeps those that the protocol wants.
        by_appearance: Users run by first appearance in the input, in one block, and ties of time by place in it; else
            in natural order, and ties in canonical order.
        proportions: Whether it cuts its splits by proportions (else `SplitConfig.ratios` is an error).
        by_user: Whether all samples of a user fall into one split (else `SplitConfig.folds` is an error).
        holdout: Events of a user in a block that is held out together, by default; None where it holds out none, and
            `SplitConfig.holdout` is an error.
        first_only: Drop a user's later interactions with the same item, whose answer the first would give away.
        drop_zero: Drop ratings of 0.
    """

    name: str
    version: int
    arrange: Step
    orders: tuple[Order, ...]
    min_history: int | None
    narrow: Step = everything
    pick: Step = everything
    by_appearance: bool = False
    proportions: bool = True
    by_user: bool = False
    holdout: int | None = None
    first_only: bool = False
    drop_zero: bool = False


def ordered(rows: pl.DataFrame, protocol: Protocol, plan: Plan, rng: np.random.Generator) -> pl.DataFrame:
    """Sort a block of labelled rows into users, and each user's events into the order of `plan`.

    `event` is the canonical order, which has broken ties of time unless the protocol says otherwise.
    `rng` goes on from block to block, so that what is drawn does not depend on the size of the blocks.
    """
    if plan.order == "time" and not protocol.by_appearance:
        return rows  # that is the canonical order, in which labelled rows come
    users, ties = ("order", "order") if protocol.by_appearance else ("event", "event")
    within: list[pl.Expr] = [pl.col("timestamp"), pl.col(ties)]
    if plan.order == "file":
        within = [pl.col("order")]
    elif plan.order == "shuffle":
        event = rows["event"].to_numpy()
        rows = rows.with_columns(pl.Series("drawn", rng.random(int(event.max()) + 1)[event]))
        within = [pl.col("drawn")]
    return rows.sort(pl.col(users).min().over("user_id"), *within, "event", "negative", maintain_order=True)


def with_ties(rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``tied``: whether the user's event just before or just after, in the order of the rows, has the same time."""
    events = rows.filter(~pl.col("negative"))
    place, time = ["user_id", "event"], pl.col("timestamp").is_not_null()
    again = time & pl.all_horizontal(pl.col(name).eq(pl.col(name).shift()) for name in ("user_id", "timestamp"))
    tied = (again | again.shift(-1)).fill_null(False)
    if len(events) == len(rows):
        return rows.with_columns(tied.alias("tied"))
    return rows.join(events.select(*place, tied.alias("tied")), on=place, maintain_order="left")


def cut_users(samples: pl.DataFrame, ratios: Ratios, seed: int) -> pl.DataFrame:
    """Add ``split``: users are shuffled by seed and cut by `ratios`. Rows come out as train, valid, test.

    A user's rows must stand together. Within a split the order is that of `samples`.
    """
    user = samples["user_id"].rle_id()
    users = user.n_unique()
    rank = generator(seed, "split", "users").permutation(users)[user.to_numpy()]
    split = np.searchsorted(_cuts(users, ratios), rank, side="right").astype(np.uint32)
    return by_split(samples.with_columns(pl.Series("split", split).cat.to(SPLIT)))


def few_test_users(samples: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Keep of valid and of test the samples of `plan.test_users` users at most; a user who is chosen is so in both.

    The choice depends on the users' ids and the seed alone.
    """
    if plan.test_users is None:
        return samples
    tested = samples.filter(pl.col("split").cast(pl.String) != SPLITS[0])
    pairs = tested.select("split", "user_id").unique().sort(pl.col("user_id").cast(pl.String))
    users = pairs.select(pl.col("user_id").unique(maintain_order=True))
    rank = pl.Series("rank", generator(plan.seed, "split", "test users").permutation(len(users)))
    chosen = pairs.join(users.with_columns(rank), on="user_id").filter(
        pl.col("rank").rank("ordinal").over("split") <= plan.test_users
    )
    kept = samples.join(chosen.select("split", "user_id"), on=["split", "user_id"], how="semi", maintain_order="left")
    return pl.concat([samples.filter(pl.col("split").cast(pl.String) == SPLITS[0]), kept])


def fold_users(samples: pl.DataFrame, folds: int, fold: int, seed: int) -> pl.DataFrame:
    """Add ``split``: users are dealt into `folds` groups; group `fold` is test, the next (cyclic) valid, others train.

    The groups depend on the users' ids and the seed alone, and differ in size by one user at most. Rows come out as
    train, valid, test, each in their order.

    Raises:
        DataError: there are users, but fewer than folds.
    """
    users = samples.select(pl.col("user_id").unique()).sort(pl.col("user_id").cast(pl.String))
    if 0 < len(users) < folds:
        raise DataError(f"{folds} folds", found=f"{len(users)} users with samples", expected="a user in every fold")
    group = generator(seed, "split", "folds").permutation(len(users)) % folds
    role = np.array([2, 1] + [0] * (folds - 2), dtype=np.uint32)[(group - fold) % folds]  # places in SPLITS
    roles = users.with_columns(pl.Series("split", role).cast(pl.UInt32).cat.to(SPLIT))
    return by_split(samples.join(roles, on="user_id", how="left", maintain_order="left"))


def by_split(samples: pl.DataFrame) -> pl.DataFrame:
    """Rows as train, valid, test; within a split the order is that of `samples`."""
    return pl.concat([samples.filter(pl.col("split") == split) for split in SPLITS])


def _cuts(total: int, ratios: Ratios) -> tuple[int, int]:
    """Where valid and test start among `total` rows."""
    train, valid, test = ratios
    return total * train // (train + valid + test), total * (train + valid) // (train + valid + test)


def _cut(samples: pl.DataFrame, cuts: tuple[int, int]) -> pl.DataFrame:
    sizes = (cuts[0], cuts[1] - cuts[0], len(samples) - cuts[1])
    return samples.with_columns(pl.Series("split", np.repeat(np.arange(3, dtype=np.uint32), sizes)).cat.to(SPLIT))


def _last_users(interactions: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The users who appear last, as many as it takes for `RECENT` windows: no other user's are kept."""
    users = interactions.group_by("user_id").agg(pl.col("order").min(), pl.len().cast(pl.Int64).alias("targets"))
    targets = (pl.col("targets") - plan.min_history).clip(0)
    users = users.with_columns(targets).filter(pl.col("targets") > 0).sort("order", descending=True)
    needed = users.filter(pl.col("targets").cum_sum() - pl.col("targets") < RECENT)
    return interactions.filter(pl.col("user_id").is_in(needed["user_id"].implode()))


def _windows(samples: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """`tallrec-movie`. The published files are this, not "the most recent 10,000 interactions" of the paper's text."""
    return samples.tail(RECENT)


def _consecutive(samples: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    return _cut(samples, _cuts(len(samples), plan.ratios))


def _last_of_each(samples: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    return samples.filter(pl.col("position") == pl.col("position").max().over("user_id"))


def _by_user(samples: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    if plan.folds is not None:
        return fold_users(samples, plan.folds, plan.fold, plan.seed)
    return cut_users(samples, plan.ratios, plan.seed)


def _temporal(samples: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """`temporal`: cut one global order; rows of one time stay on one side, the one that moves the cut less.

    Users stand in natural order and their events in the canonical one, which a stable sort keeps.
    """
    times = samples["timestamp" if plan.order == "time" else "order"].to_numpy()
    places = np.argsort(times, kind="stable")
    times = times[places]
    first, second = (_between_times(times, cut) for cut in _cuts(len(samples), plan.ratios))
    moved = pl.Series(places, dtype=pl.UInt32 if len(places) < 2**32 else pl.UInt64)
    columns = []
    for name in samples.columns:  # one after another, so that two copies of one column are the most there is
        columns.append(samples[name].gather(moved))
        samples = samples.drop(name)
    return _cut(pl.DataFrame(columns), (first, second))


def _between_times(times: np.ndarray, cut: int) -> int:
    if not 0 < cut < len(times):
        return cut
    low = int(np.searchsorted(times, times[cut], side="left"))
    high = int(np.searchsorted(times, times[cut], side="right"))
    return low if cut - low <= high - cut else high


def _leave_out(samples: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The last `holdout` events of a user are test, those before them valid, if each has its history before the block.

    All targets of a block have the history that ends before it, so what tells them apart is the item alone.
    """
    count = plan.holdout or 1
    position, user = pl.col("position"), "user_id"
    blocks = (position.max().over(user) - position) // count  # counted from the user's last one, 0
    opens = position.max().over(user) - (blocks + 1) * count + 1
    held = (blocks < 2) & (opens >= position.min().over(user))
    split = pl.when(~held).then(pl.lit("train")).when(blocks == 0).then(pl.lit("test")).otherwise(pl.lit("valid"))
    samples = samples.with_columns(split.cast(SPLIT).alias("split"))
    shared = [
        pl.when(pl.col("split") == "train").then(name).otherwise(pl.col(name).min().over(user, "split")).alias(name)
        for name in ("history_end", "history_length")
    ]
    return samples.with_columns(shared)


_ALL: Final = (
    Protocol(
        "tallrec-movie", 1, _consecutive, ("time", "file"), None,
        narrow=_last_users, pick=_windows, by_appearance=True,
    ),
    Protocol("tallrec-book", 2, _by_user, ("shuffle", "file", "time"), 3, pick=_last_of_each, by_user=True),
    Protocol(
        "explicit-only", 2, _by_user, ("shuffle", "file", "time"), 3,
        pick=_last_of_each, by_user=True, drop_zero=True,
    ),
    Protocol("temporal", 2, _temporal, ("time", "file"), 1, first_only=True),
    Protocol(
        "leave-one-out", 2, everything, ("time", "file", "shuffle"), 1,
        pick=_leave_out, proportions=False, first_only=True,
    ),
    Protocol(
        "leave-n-out", 1, everything, ("time", "file", "shuffle"), 1,
        pick=_leave_out, proportions=False, first_only=True, holdout=10,
    ),
)  # fmt: skip
PROTOCOLS: Final[dict[str, Protocol]] = {protocol.name: protocol for protocol in _ALL}
