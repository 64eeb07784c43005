"""Protocols: which interactions become targets, with which history, in which split.

====================  ==========================================================================================
``tallrec-movie``     TALLRec's Movie files, byte for byte: users by first appearance in the file, each by time (ties in
                      file order), a full window of history before every target, the last 10,000 targets, consecutive.
``tallrec-book``      TALLRec's Book files: one target per user with more than 3 items, the last of a seeded shuffle.
``explicit-only``     ``tallrec-book`` without the ratings of 0 (BookCrossing's implicit ones).
``temporal``          One global time order; all of train comes before all of valid, and that before all of test.
``leave-one-out``     Each user's last item is the test target, the one before it valid, the earlier ones train.
``leave-n-out``       Each user's last n items are test targets, the n before them valid, the earlier ones train. All n
                      share the history that ends before their block: what tells them apart is the item alone, so this
                      is the protocol for ranking within a user. A user with too few items for a block only trains.
====================  ==========================================================================================

``tallrec`` stands for the first where there are timestamps, and for the second where there are none. Apart from
``tallrec-movie`` and from the order ``file``, no result depends on the order of the input rows: events at the same time
are ordered by a hash and the order seed (`recalign.data.interactions`). A history holds only what the same user did
before the target in the declared order; with timestamps that tie, "before" is that order's.
"""

from __future__ import annotations

from typing import Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recalign.data.codes import names
from recalign.data.feedback import FeedbackConfig, label_coded, likes
from recalign.data.interactions import BLOCK_ROWS, check_interactions, user_blocks, with_codes, without_repeats
from recalign.data.protocols import PROTOCOLS, Order, Plan, Protocol, Ratios, few_test_users, ordered, with_ties
from recalign.data.sample_ids import SampleIds, check_unique
from recalign.data.sample_table import SampleTable, history_ranges, trimmed
from recalign.data.schema import SPLITS, STORED_SAMPLES
from recalign.errors import ConfigError, DataError
from recalign.seeding import generator

Ids = tuple[str, ...]


class SplitConfig(BaseModel):
    """Parameters of a protocol; None means the protocol's own default (`Protocol`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_history: int = Field(10, ge=1, description="Longest history.")
    min_history: int | None = Field(None, ge=1, description="Interactions that a target needs before it.")
    order: Order | None = Field(None, description="Order of a user's interactions: time, file or shuffle.")
    split: Ratios | None = Field(None, description="Proportions of train, valid and test: '8:1:1'.")
    folds: int | None = Field(None, ge=3, description="User-wise cross-validation instead of split: groups of users.")
    fold: int = Field(0, ge=0, description="With folds: the group that is test; the next one is valid.")
    seed: int = Field(0, ge=0, description="Root of all randomness.")
    order_seed: int = Field(0, ge=0, description="Which of the possible orders of events at the same time.")
    holdout: int | None = Field(None, ge=1, description="leave-n-out: events of a user that are held out together.")

    test_users: int | None = Field(None, ge=1, description="Most users in valid and in test, a seeded choice.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.split is not None and (min(self.split) < 0 or sum(self.split) == 0):
            raise ValueError("ratios must not be negative, and one of them must be positive")
        if self.folds is not None and self.split is not None:
            raise ValueError("folds and split exclude each other: folds cut all users into equal groups")
        if self.folds is None and self.fold:
            raise ValueError(f"found fold {self.fold} without folds")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"found fold {self.fold} of {self.folds} folds; expected 0 to {self.folds - 1}")
        return self


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
        ConfigError: the protocol cannot use an order, an order seed, a holdout, proportions or folds that `config` asks
            for.
    """
    order = config.order or protocol.orders[0]
    if config.order is not None and config.order not in protocol.orders:
        expected = f"order {' or '.join(protocol.orders)}"
        raise ConfigError(f"protocol {protocol.name}", found=f"order {config.order}", expected=expected)
    if config.split is not None and not protocol.proportions:
        found = f"split {':'.join(map(str, config.split))}"
        raise ConfigError(f"protocol {protocol.name} has no proportions", found=found)
    if config.holdout is not None and protocol.holdout is None:
        found = f"holdout {config.holdout}"
        raise ConfigError(f"protocol {protocol.name} holds out no block", found=found, expected="protocol leave-n-out")
    seeded = order == "time" and not protocol.by_appearance
    if config.order_seed and not seeded:
        raise ConfigError(
            f"protocol {protocol.name}, order {order}",
            found=f"order seed {config.order_seed}",
            expected="no order seed: nothing there is decided by it",
        )
    if config.folds is not None and not protocol.by_user:
        by_user = " or ".join(name for name, usable in PROTOCOLS.items() if usable.by_user)
        raise ConfigError(
            f"protocol {protocol.name} has no folds of users: one user's samples may fall into several splits",
            found=f"{config.folds} folds",
            expected=f"protocol {by_user}",
        )
    return Plan(
        max_history=config.max_history,
        min_history=config.min_history or protocol.min_history or config.max_history,
        order=order,
        ratios=config.split or (8, 1, 1),
        negatives_in_history=feedback.negatives_in_history,
        seed=config.seed,
        order_seed=config.order_seed if seeded else None,
        holdout=config.holdout or protocol.holdout,
        folds=config.folds,
        fold=config.fold,
        test_users=config.test_users,
    )


def make_table(
    interactions: pl.DataFrame,
    protocol: Protocol,
    plan: Plan,
    feedback: FeedbackConfig,
    *,
    item_ids: Ids = (),
    block_rows: int = BLOCK_ROWS,
) -> SampleTable:
    """Turn interactions (columns of `schema.INTERACTIONS`) into samples.

    Args:
        interactions: The rows of the source.
        protocol: From `resolve_protocol`.
        plan: From `plan`.
        feedback: What counts as liked.
        item_ids: The catalogue, for sampled negatives.
        block_rows: About how many rows are worked on at a time; nothing in the result depends on it.

    Returns:
        The samples (ids as UInt64): train, valid, test, each in the protocol's order.

    Raises:
        DataError: the interactions lack what the protocol or the feedback needs, or no sample results.
    """
    check_interactions(interactions)
    if protocol.drop_zero:
        interactions = interactions.filter(pl.col("rating").is_null() | (pl.col("rating") != 0))
        check_interactions(interactions)
    if plan.order == "time" and (missing := interactions["timestamp"].null_count()):
        others = [f"--order {order}" for order in protocol.orders if order != "time"]
        raise _no_time(missing, len(interactions), f"Name another order: {' or '.join(others)}.")
    likes(interactions, feedback)  # what is wrong with the feedback is said of the whole table, not of a block
    table = _of_blocks(interactions, protocol, plan, feedback, item_ids, block_rows)
    if not len(table):
        counts = interactions["user_id"].unique_counts().to_list()
        raise DataError(
            f"protocol {protocol.name} finds no target",
            found=f"{len(counts)} users, the longest with {max(counts, default=0)} interactions",
            expected=f"a user with more than {plan.min_history}",
            hint="Lower --min-history or --max-history.",
        )
    check_unique(table.samples["sample_id"])
    return table


def _of_blocks(
    interactions: pl.DataFrame, protocol: Protocol, plan: Plan, feedback: FeedbackConfig, item_ids: Ids, block_rows: int
) -> SampleTable:
    """The samples and events of all users, made block by block."""
    coded = protocol.narrow(with_codes(interactions, item_ids), plan)
    rng = generator(plan.seed, "split", "order")
    ids = SampleIds(protocol.name, names(coded["user_id"]), names(coded["item_id"]))
    # Split by split where the protocol has split them already; all in the first list where it has not.
    parts: dict[str, list[pl.DataFrame]] = {split: [] for split in SPLITS}
    all_events: list[pl.DataFrame] = []
    end = 0
    for block in user_blocks(coded, max(1, len(coded)) if protocol.by_appearance else block_rows):
        if protocol.first_only:
            block = without_repeats(block, by_file=plan.order == "file")
        labelled = label_coded(block, feedback, item_ids=item_ids, seed=plan.seed, order_seed=plan.order_seed or 0)
        samples, events = history_ranges(
            with_ties(ordered(labelled, protocol, plan, rng)),
            max_history=plan.max_history,
            min_history=plan.min_history,
            negatives_in_history=plan.negatives_in_history,
        )
        samples, events = trimmed(protocol.pick(samples, plan), events)
        samples = samples.with_columns(ids.of(samples), pl.col("history_end") + end)
        end += len(events)
        all_events.append(events)
        # The place in the file is needed once more where it is the order of all samples.
        kept = [name for name in STORED_SAMPLES if name in samples.columns] + ["order"] * (plan.order == "file")
        kept += ["tied"]
        samples = samples.select(kept)
        if "split" not in kept:
            parts[SPLITS[0]].append(samples)
            continue
        for split in SPLITS:
            parts[split].append(samples.filter(pl.col("split") == split))
    del coded
    joined = pl.concat(part for split in SPLITS for part in parts.pop(split))
    samples = few_test_users(protocol.arrange(joined, plan), plan)
    ties = dict(samples.group_by(pl.col("split").cast(pl.String)).agg(pl.col("tied").sum()).iter_rows())
    return SampleTable(samples.select(*STORED_SAMPLES), pl.concat(all_events), ties if plan.order == "time" else {})


def _no_time(missing: int, rows: int, hint: str) -> DataError:
    return DataError(
        "this protocol orders interactions by time",
        found=f"{missing} of {rows} without a timestamp",
        expected="a timestamp in every row",
        hint=hint,
    )
