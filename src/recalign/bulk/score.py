"""Bulk scoring: a table of events in, scores of all its users out, shard by shard.

A worker takes the shards that are its own and are not there yet. Several workers may share a directory: under any
scheduler, with shares of their own (`Share`), or all with all shards, where each takes what no other is at.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl

from recalign.bulk.histories import EVENTS, PAIRS, REJECTS, EventReader, ShardHistories, ShardPairs, read_pairs
from recalign.bulk.lists import BestItems, GivenPairs, Question, answer_all
from recalign.bulk.output import ROWS_FILE, Job, Output
from recalign.bulk.places import Place, Tables, at_hand
from recalign.bulk.request import Request, Share
from recalign.bulk.spool import Spool
from recalign.data.codes import natural_order
from recalign.data.parsing.assembly import SourceBuilder
from recalign.errors import ConfigError, Interrupted
from recalign.recommender import Progress, Recommender

_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Scored:
    """What is in the directory when a worker is done.

    Attributes:
        place: Where the scores are.
        missing: Shards that are not there, because they are those of other workers.
        users, rows, rejected_users: Of the shards of this worker: how many users have scores, how many scores there
            are, and how many users have none.
    """

    place: Place
    missing: tuple[int, ...]
    users: int
    rows: int
    rejected_users: int

    @classmethod
    def of(cls, output: Output, own: range) -> Scored:
        """What is there now of the shards `own`. Where all shards are there, the index is written."""
        missing = output.finish()
        records = [record for shard in own if (record := output.record(shard)) is not None]
        users, rows = sum(record.users for record in records), sum(record.rows for record in records)
        return cls(output.place, tuple(missing), users, rows, sum(record.rejected_users for record in records))


def score_users(
    recommender: Recommender,
    request: Request,
    output: Place,
    *,
    model: dict[str, str],
    share: Share = Share(),
    restart: bool = False,
    signals: Sequence[int] = (),
    progress: Progress | None = None,
) -> Scored:
    """Score all users of a table, or go on with it.

    Args:
        recommender: The scorer, the catalogue and, maybe, an index.
        request: What to score.
        output: The directory, or its URL; see `recalign.bulk.output` for what comes to be there.
        model: Fingerprints of what `recommender` consists of: scores of another model are not mixed with its.
        share: Which of the shards this worker makes.
        restart: Replace the scores of another input, model or request.
        signals: Numbers of the signals that came; looked at after each call of the scorer.
        progress: Told of users done, and of all that this worker has to do.

    Raises:
        ArtifactError: `output` holds other scores, or cannot be written.
        ConfigError: A setting is wrong.
        DataError: The input is missing, damaged or has no usable row.
        ModelError: The scorer gave a score that is not finite.
        Interrupted: A signal came. All finished shards are there, and nothing half-written.
    """
    with at_hand(request.users, request.pairs) as tables:
        job = job_of(request, tables, model, indexed=recommender.index is not None)
        result = Output.open(output, job, request.shards, restart=restart)
        own = share.of_all(request.shards)
        if missing := result.missing(own):
            Worker(recommender, request, tables, result, own, signals, progress).make(missing)
        return Scored.of(result, own)


def job_of(request: Request, tables: Tables, model: dict[str, str], *, indexed: bool) -> Job:
    """What decides the scores. Raises ConfigError where the request does not fit a recommender without an index."""
    if request.selection.diversity > 0 and not indexed:
        raise ConfigError("diversity", found="no index", hint="Make one (recalign index) and name it with --index.")
    return Job(input=tables.fingerprints(), model=model, settings=request.settings(indexed=indexed))


@dataclass
class Worker:
    """Makes shards of an output, one after another.

    Attributes:
        recommender, request, signals, progress: See `score_users`.
        tables: The tables of the request.
        output: Where the shards go.
        own: The shards of this worker, made or not.
        done, total: How many users are done, of how many.
    """

    recommender: Recommender
    request: Request
    tables: Tables
    output: Output
    own: Sequence[int]
    signals: Sequence[int] = ()
    progress: Progress | None = None
    done: int = 0
    total: int = 0

    def make(self, missing: list[int]) -> None:
        """Read the input once, then make the missing shards; those that another worker is at are waited for."""
        with ExitStack() as stack:
            source = self._read(stack, missing)
            counts = {shard: len(source.asked.users(shard)) for shard in missing}
            self.total = sum(counts.values())
            self.tell(0)
            while missing:
                busy = []
                for shard in missing:
                    with self.output.claimed(shard) as mine:
                        if not mine:
                            busy.append(shard)
                        elif self.output.record(shard) is None:
                            self._make_one(shard, source)
                        else:
                            self.tell(counts[shard])
                missing = busy
                if busy:
                    self.tell(0)
                    time.sleep(_POLL_SECONDS)

    def tell(self, users: int) -> None:
        """So many more users are done. Raises Interrupted where a signal has come."""
        self.done += users
        if self.progress is not None and self.total:
            self.progress(self.done, self.total)
        if self.signals:
            there = sum(self.output.record(shard) is not None for shard in self.own)
            where = f"scoring into {self.output.place} stopped with {there} of {len(self.own)} shards made"
            raise Interrupted(self.signals[0], where)

    def _read(self, stack: ExitStack, missing: list[int]) -> _Source:
        def spool(schema: dict[str, pl.DataType]) -> Spool:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="recalign-")))
            return Spool(folder, schema, self.request.shards, missing)

        builder = SourceBuilder()
        reader = EventReader(self.tables.users, self.request.source, self.request.like_above)
        events = spool(EVENTS)
        reader.read(builder, events, lambda: self.tell(0))
        pairs = None
        if self.tables.pairs is not None:
            pairs = spool(PAIRS)
            read_pairs(self.tables.pairs, builder, pairs, lambda: self.tell(0))
        rejected = io.BytesIO()
        builder.ledger.write(rejected)
        self.output.folder.write(ROWS_FILE, rejected.getvalue())
        return _Source(reader, events, pairs, builder.ledger.counts())

    def _make_one(self, shard: int, source: _Source) -> None:
        catalog = self.recommender.catalog
        events = source.events.read(shard)
        question: Question = BestItems(self.recommender, self.request.top, self.request.selection)
        without = pl.DataFrame(schema=REJECTS)
        counts = {}
        if source.pairs is not None:
            pairs = ShardPairs.of(source.pairs.read(shard), events, catalog)
            events, without, counts = pairs.events, pairs.rejects, pairs.counts
            question = GivenPairs(self.recommender, pairs.wanted)
        histories = ShardHistories.of(events, catalog, source.reader.likes, timed=source.reader.timed)
        answered = answer_all(self.recommender, histories.users(), question, self.request.max_history, self.tell)
        self.done += len(histories.rejects) + len(without)
        unanswered = pl.DataFrame(answered.rejects, schema=REJECTS, orient="row")
        rejects = pl.concat([without, histories.rejects, unanswered]).sort(natural_order("user_id"))
        record: dict[str, object] = {
            "users": answered.users,
            "rows": len(answered.scores),
            "rejected_users": len(rejects),
            "counts": {**histories.counts, **counts},
            "rejected_rows": source.rejected_rows,
        }
        self.output.write(shard, answered.parquet(), rejects.write_ndjson().encode(), record)
        self.tell(0)


@dataclass(frozen=True)
class _Source:
    """What was read of the input; `rejected_rows` are those that could not be read, by reason."""

    reader: EventReader
    events: Spool
    pairs: Spool | None
    rejected_rows: dict[str, int]

    @property
    def asked(self) -> Spool:
        """Whose users have to be answered."""
        return self.events if self.pairs is None else self.pairs
