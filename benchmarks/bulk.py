"""Bulk scoring: users a second of one core, by candidates and history, and how fast a table is read.

    python benchmarks/bulk.py [--threads 1] [--users 100] [--dtype bf16] [--device cuda]

The model has nano's shape and random weights, which take as long as trained ones; the movies are generated. A user has
one event more than the history takes. All that `recalign score` does for a user is timed: reading, retrieval, ranking
and writing. Seconds of the processor are given beside those of the clock: on one thread they say what an idle machine
does, also where this one is busy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from setting import DTYPES, arguments, clock

from recalign.api import prepare
from recalign.bulk.histories import EVENTS, EventReader
from recalign.bulk.request import Request
from recalign.bulk.score import score_users
from recalign.bulk.spool import Spool
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.samples import SampleSet
from recalign.data.source import SourceOptions
from recalign.models.config import NanoConfig
from recalign.models.nano import init_model, train_tokenizer
from recalign.models.onednn import accelerate_linears
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.recommender import Recommender, Selection
from recalign.retrieval.index import build_index
from recalign.scoring.yes_no import YesNoScorer
from recalign.seeding import generator

ITEMS = 1682
CASES = ((10, 50), (10, 200), (50, 200), (10, 1000))  # history, candidates


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock and of the processor."""

    clock: float
    processor: float

    @classmethod
    def since(cls, start: Spent) -> Spent:
        """What has passed since."""
        return cls(clock() - start.clock, time.process_time() - start.processor)


def main() -> None:
    options = arguments(__doc__.splitlines()[0], users=100, rows=1_000_000)
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = prepare(
            "synthetic", folder / "data", items=ITEMS, users=300, ratings_per_user=40, protocol="leave-one-out"
        )
        recommender = made(data, DTYPES[options.dtype], options.device)
        print("history  candidates  users/s  users per CPU-s  candidates per CPU-s")
        for history, candidates in CASES:
            ranked(recommender, folder, options.users, history, candidates)
        read(folder, options.rows, data.catalog.ids)


def made(data: SampleSet, dtype: torch.dtype, device: str) -> Recommender:
    """A model of nano's shape with an index of the catalogue."""
    words = PromptTemplate.load("default")
    texts = [data.catalog.text(item) for item in data.catalog.ids]
    tokenizer = train_tokenizer(texts * 2, NanoConfig().vocabulary)
    model = init_model(NanoConfig(), tokenizer).to(device, dtype).eval()
    if device == "cpu":
        accelerate_linears(model)  # as loading a backbone does
    encoder = PromptEncoder(words, data.domain, tokenizer, max_length=2048)
    return Recommender(YesNoScorer(model, encoder, data.catalog), data.catalog, index=build_index(data))


def events(ids: tuple[str, ...], users: int, each: int) -> pl.DataFrame:
    """Events of users, all of whose items differ."""
    draw = generator(0, "benchmark", "events")
    places = np.concatenate([draw.permutation(len(ids))[:each] for _ in range(users)])
    return pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in range(users) for _ in range(each)],
            "item_id": [ids[place] for place in places],
            "liked": draw.integers(0, 2, users * each),
            "timestamp": np.arange(users * each) + 1_600_000_000,
        }
    )


def ranked(recommender: Recommender, folder: Path, users: int, history: int, candidates: int) -> None:
    """Print how fast users are scored."""
    table = folder / f"events-{history}.parquet"
    events(tuple(recommender.catalog.ids), users, history + 1).write_parquet(table)
    request = Request(table, max_history=history, selection=Selection(retrieve=candidates), shards=1)
    few = folder / f"few-{history}.parquet"
    pl.read_parquet(table).head(3 * (history + 1)).write_parquet(few)
    warm = Request(few, max_history=history, selection=Selection(retrieve=candidates), shards=1)
    score_users(recommender, warm, folder / f"warm-{history}-{candidates}", model={})
    start = Spent(clock(), time.process_time())
    score_users(recommender, request, folder / f"scores-{history}-{candidates}", model={})
    spent = Spent.since(start)
    print(
        f"{history:7}  {candidates:10}  {users / spent.clock:7.1f}  {users / spent.processor:15.1f}"
        f"  {users * candidates / spent.processor:20,.0f}"
    )


def read(folder: Path, rows: int, ids: list[str]) -> None:
    """Print how fast a table is read and put down by shard."""
    draw = generator(0, "benchmark", "rows")
    table = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in draw.integers(0, rows // 10, rows)],
            "item_id": [ids[place] for place in draw.integers(0, len(ids), rows)],
            "liked": draw.integers(0, 2, rows),
            "timestamp": draw.integers(1_500_000_000, 1_600_000_000, rows),
        }
    )
    table.write_parquet(folder / "rows.parquet")
    (folder / "spool").mkdir()
    start = Spent(clock(), time.process_time())
    reader = EventReader(folder / "rows.parquet", SourceOptions())
    reader.read(SourceBuilder(), Spool(folder / "spool", EVENTS, 20, range(20)), lambda: None)
    spent = Spent.since(start)
    print(f"{rows:,} rows read: {rows / spent.clock:,.0f} a second, {rows / spent.processor:,.0f} a CPU-second")


if __name__ == "__main__":
    main()
