"""Protocols: which interactions become targets, with which history, in which split. Named and versioned.

====================  ==========================================================================================
``tallrec-movie``     TALLRec's Movie files, byte for byte: users by first appearance in the file, each by time (ties in
                      file order), a full window of history before every target, the last 10,000 targets, consecutive.
``tallrec-book``      TALLRec's Book files: one target per user with more than 3 items, the last of a seeded shuffle.
``explicit-only``     ``tallrec-book`` without the ratings of 0 (BookCrossing's implicit ones).
``temporal``          One global time order; all of train comes before all of valid, and that before all of test.
``leave-one-out``     Each user's last item is the test target, the one before it valid, the earlier ones train.
====================  ==========================================================================================

``tallrec`` stands for the first where there are timestamps, and for the second where there are none. Apart from
``tallrec-movie`` and from the order ``file``, no result depends on the order of the input rows: time ties are broken by
user and item id. A history holds only what the same user did before the target in the declared order; with timestamps
that tie, "before" is that order's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recalign.data.feedback import FeedbackConfig, label
from recalign.data.interactions import check_interactions, without_repeats
from recalign.data.samples import build_samples, with_sample_ids
from recalign.data.schema import SAMPLES, SPLITS
from recalign.errors import ConfigError, DataError
from recalign.seeding import generator

Order = Literal["time", "file", "shuffle"]
Ratios = tuple[int, int, int]
Ids = tuple[str, ...]

RECENT: Final = 10_000  # targets that TALLRec keeps of Movie


class SplitConfig(BaseModel):
    """Parameters of a protocol; None means the protocol's own default (`Protocol`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(10, ge=1, description="Longest history.")
    min_history: int | None = Field(None, ge=1, description="Interactions that a target needs before it.")
    order: Order | None = Field(
        None, description="Order of a user's interactions: time, the file's, or a seeded shuffle."
    )
    ratios: Ratios | None = Field(None, description="Sizes of train, valid and test in proportion, such as 8:1:1.")
    seed: int = Field(0, ge=0, description="Seed of shuffles and sampled negatives.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ratios is not None and (min(self.ratios) < 0 or sum(self.ratios) == 0):
            raise ValueError("ratios must not be negative, and one of them must be positive")
        return self


@dataclass(frozen=True, slots=True)
class Plan:
    """A protocol's parameters with every default filled in; what the manifest records."""

    window: int
    min_history: int
    order: Order
    ratios: Ratios
    negatives_in_history: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Protocol:
    """A named way to make samples.

    Attributes:
        run: Maps labelled rows to samples in splits.
        orders: The orders it can use, its default first.
        min_history: Interactions that a target needs before it; None: a full window.
        proportions: Whether it cuts its splits by proportions (else `SplitConfig.ratios` is an error).
        first_only: Drop a user's later interactions with the same item, whose answer the first would give away.
        drop_zero: Drop ratings of 0.
    """

    name: str
    version: int
    summary: str
    run: Callable[[pl.DataFrame, Plan], pl.DataFrame]
    orders: tuple[Order, ...]
    min_history: int | None
    proportions: bool = True
    first_only: bool = False
    drop_zero: bool = False


def resolve_protocol(name: str, interactions: pl.DataFrame) -> Protocol:
    """The protocol that `name` stands for on these interactions (``tallrec`` depends on the timestamps).

    Raises:
        ConfigError: there is no such protocol.
        DataError: ``tallrec``, and only some of the rows have a timestamp.
    """
    if name == "tallrec":
        missing = interactions["timestamp"].null_count()
        if 0 < missing < len(interactions):
            raise _no_time(missing, len(interactions), "protocol tallrec-book does without.")
        name = "tallrec-book" if missing else "tallrec-movie"
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol {name!r}", expected=", ".join(["tallrec", *PROTOCOLS]))
    return PROTOCOLS[name]


def plan(protocol: Protocol, config: SplitConfig, feedback: FeedbackConfig) -> Plan:
    """Fill in the protocol's defaults.

    Raises:
        ConfigError: the protocol cannot use an order or proportions that `config` asks for.
    """
    if config.order is not None and config.order not in protocol.orders:
        raise ConfigError(
            f"protocol {protocol.name}", found=f"order {config.order}", expected=f"order {' or '.join(protocol.orders)}"
        )
    if config.ratios is not None and not protocol.proportions:
        raise ConfigError(
            f"protocol {protocol.name} has no proportions", found=f"split {':'.join(map(str, config.ratios))}"
        )
    return Plan(
        window=config.window,
        min_history=config.min_history or protocol.min_history or config.window,
        order=config.order or protocol.orders[0],
        ratios=config.ratios or (8, 1, 1),
        negatives_in_history=feedback.negatives_in_history,
        seed=config.seed,
    )


def make_samples(
    interactions: pl.DataFrame, protocol: Protocol, plan: Plan, feedback: FeedbackConfig, *, item_ids: Ids = ()
) -> pl.DataFrame:
    """Turn interactions (columns of `schema.INTERACTIONS`) into samples.

    Args:
        interactions: The rows of the source.
        protocol: From `resolve_protocol`.
        plan: From `plan`.
        feedback: What counts as liked.
        item_ids: The catalogue, for sampled negatives.

    Returns:
        Columns of `schema.SAMPLES`: train, valid, test, each in the protocol's order.

    Raises:
        DataError: the interactions lack what the protocol or the feedback needs, or no sample results.
    """
    check_interactions(interactions)
    if protocol.drop_zero:
        interactions = interactions.filter(pl.col("rating").is_null() | (pl.col("rating") != 0))
    if plan.order == "time" and (missing := interactions["timestamp"].null_count()):
        others = [f"--order {order}" for order in protocol.orders if order != "time"]
        raise _no_time(missing, len(interactions), f"Name another order: {' or '.join(others)}.")
    if protocol.first_only:
        interactions = without_repeats(interactions, by_file=plan.order == "file")
    rows = label(interactions, feedback, item_ids=item_ids, seed=plan.seed)
    samples = protocol.run(rows, plan)
    if samples.is_empty():
        raise DataError(
            f"protocol {protocol.name} finds no target",
            found=f"{interactions['user_id'].n_unique()} users, the longest with {_longest(interactions)} interactions",
            expected=f"a user with more than {plan.min_history}",
            hint="Lower --min-history or --window.",
        )
    return with_sample_ids(samples, protocol.name).select(*SAMPLES)


def _no_time(missing: int, rows: int, hint: str) -> DataError:
    return DataError(
        "this protocol orders interactions by time",
        found=f"{missing} of {rows} without a timestamp",
        expected="a timestamp in every row",
        hint=hint,
    )


def _longest(interactions: pl.DataFrame) -> int:
    return int(interactions.group_by("user_id").len()["len"].max() or 0)  # type: ignore[arg-type]


def _ordered(rows: pl.DataFrame, plan: Plan, *, users: str = "event", ties: str = "event") -> pl.DataFrame:
    """Sort into users (by their least value of `users`), and each user's events into the order of `plan`.

    `event` is the canonical order (time, then item id), so it breaks ties of time unless `ties` says otherwise.
    """
    within: list[pl.Expr] = [pl.col("timestamp"), pl.col(ties)]
    if plan.order == "file":
        within = [pl.col("order")]
    elif plan.order == "shuffle":
        drawn = generator(plan.seed, "split", "order").random(len(rows))
        rows = rows.with_columns(pl.Series("drawn", drawn[rows["event"].to_numpy()]))
        within = [pl.col("drawn")]
    return rows.sort(pl.col(users).min().over("user_id"), *within, "event", "negative", maintain_order=True)


def _built(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    return build_samples(
        rows, window=plan.window, min_history=plan.min_history, negatives_in_history=plan.negatives_in_history
    )


def cut_users(samples: pl.DataFrame, ratios: Ratios, seed: int) -> pl.DataFrame:
    """Add ``split``: users are shuffled by seed and cut by `ratios`. Rows come out as train, valid, test.

    A user's rows must stand together. Within a split the order is that of `samples`.
    """
    user = samples["user_id"].rle_id()
    users = user.n_unique()
    rank = generator(seed, "split", "users").permutation(users)[user.to_numpy()]
    split = np.array(SPLITS)[np.searchsorted(_cuts(users, ratios), rank, side="right")]
    return _by_split(samples.with_columns(pl.Series("split", split, dtype=pl.String)))


def _by_split(samples: pl.DataFrame) -> pl.DataFrame:
    return samples.sort(pl.col("split").cast(pl.Enum(SPLITS)), maintain_order=True)


def _cuts(total: int, ratios: Ratios) -> tuple[int, int]:
    """Where valid and test start among `total` rows."""
    train, valid, test = ratios
    return total * train // (train + valid + test), total * (train + valid) // (train + valid + test)


def _cut(samples: pl.DataFrame, cuts: tuple[int, int]) -> pl.DataFrame:
    place = pl.int_range(pl.len())
    split = pl.when(place < cuts[0]).then(pl.lit(SPLITS[0])).when(place < cuts[1]).then(pl.lit(SPLITS[1]))
    return samples.with_columns(split.otherwise(pl.lit(SPLITS[2])).alias("split"))


def _windows(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """`tallrec-movie`. The published files are this, not "the most recent 10,000 interactions" of the paper's text."""
    samples = _built(_ordered(rows, plan, users="order", ties="order"), plan).tail(RECENT)
    return _cut(samples, _cuts(len(samples), plan.ratios))


def _one_per_user(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """`tallrec-book`: the last event of each user; users shuffled by seed, then cut."""
    samples = _built(_ordered(rows, plan), plan)
    samples = samples.filter(pl.col("position") == pl.col("position").max().over("user_id"))
    return cut_users(samples, plan.ratios, plan.seed)


def _temporal(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """`temporal`: cut one global order; rows of one time stay on one side, the one that moves the cut less."""
    time = "timestamp" if plan.order == "time" else "order"
    samples = _built(_ordered(rows, plan), plan).sort(time, "event", "negative", maintain_order=True)
    times = samples[time].to_numpy()
    first, second = (_between_times(times, cut) for cut in _cuts(len(samples), plan.ratios))
    return _cut(samples, (first, second))


def _between_times(times: np.ndarray, cut: int) -> int:
    if not 0 < cut < len(times):
        return cut
    low = int(np.searchsorted(times, times[cut], side="left"))
    high = int(np.searchsorted(times, times[cut], side="right"))
    return low if cut - low <= high - cut else high


def _leave_one_out(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    samples = _built(_ordered(rows, plan), plan)
    left = pl.col("position").max().over("user_id") - pl.col("position")
    split = pl.when(left == 0).then(pl.lit("test")).when(left == 1).then(pl.lit("valid")).otherwise(pl.lit("train"))
    return _by_split(samples.with_columns(split.alias("split")))


_ALL: Final = (
    Protocol(
        "tallrec-movie", 1, "TALLRec Movie: sliding windows, the last 10,000, consecutive",
        _windows, ("time", "file"), None,
    ),
    Protocol(
        "tallrec-book", 1, "TALLRec Book: one target per user, the last of a seeded shuffle",
        _one_per_user, ("shuffle", "file", "time"), 3,
    ),
    Protocol(
        "explicit-only", 1, "tallrec-book without ratings of 0",
        _one_per_user, ("shuffle", "file", "time"), 3, drop_zero=True,
    ),
    Protocol("temporal", 1, "one global time order", _temporal, ("time", "file"), 1, first_only=True),
    Protocol(
        "leave-one-out", 1, "each user's last item is the test target, the one before it valid",
        _leave_one_out, ("time", "file", "shuffle"), 1, proportions=False, first_only=True,
    ),
)  # fmt: skip
PROTOCOLS: Final[dict[str, Protocol]] = {protocol.name: protocol for protocol in _ALL}
