"""`recalign score`: all users of a table scored in shards, on one machine or by many workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from recalign.cli.client_options import Endpoint

if TYPE_CHECKING:
    from recalign.bulk.score import Scored
    from recalign.experiment.progress import Progress

_SOURCE = "Table of users"
_ITEMS = "Items"
_SHARDS = "Shards"


def _option(text: str, panel: str | None = None, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=False, **more)


def score(
    run: Annotated[Path, typer.Argument(help="Directory of the tuned model.", show_default=False)],
    users: Annotated[
        str, _option("Events of the users: CSV, JSON Lines or Parquet; a file or a folder of numbered parts, or a URL.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Directory to write, or to go on with; or a URL: s3://bucket/folder.")
    ],
    k: Annotated[int | None, typer.Option("-k", "--count", help="Items per user (10).", show_default=False)] = None,
    pairs: Annotated[
        str | None, _option("Score these pairs instead of looking for the best items: a table of user_id,item_id.")
    ] = None,
    data: Annotated[Path | None, _option("Prepared data whose catalogue is used instead of the run's.")] = None,
    backbone: Annotated[str | None, _option("Path or hub id of the backbone, if it has moved since tuning.")] = None,
    device: Annotated[str, _option("auto (default), cpu or cuda.")] = "auto",
    endpoint: Endpoint = None,
    like_above: Annotated[float | None, _option("Ratings above this are likes, e.g. 3.5.", _SOURCE)] = None,
    max_history: Annotated[
        int | None, _option("How many of a user's last events are the history (50).", _SOURCE)
    ] = None,
    columns: Annotated[list[str] | None, _option("Ours=theirs, e.g. user_id=KundenNr; repeat.", _SOURCE)] = None,
    header: Annotated[
        str | None, _option("The columns of a file without header, e.g. user_id,item_id,liked,timestamp.", _SOURCE)
    ] = None,
    separator: Annotated[str | None, _option("Column separator; found from the header by default.", _SOURCE)] = None,
    encoding: Annotated[str | None, _option("Text encoding; UTF-8 by default.", _SOURCE)] = None,
    time_unit: Annotated[
        str | None, _option("Unit of times that are numbers: seconds to nanoseconds; auto (by size).", _SOURCE)
    ] = None,
    index: Annotated[
        Path | None, _option("Index of the catalogue (from `recalign index`); only what it finds is scored.", _ITEMS)
    ] = None,
    retrieve: Annotated[
        int | None, _option("How many candidates the index finds (200).", _ITEMS, metavar="N", min=1)
    ] = None,
    exclude_seen: Annotated[
        bool,
        typer.Option("--exclude-seen/--include-seen", help="Leave out a user's own items.", rich_help_panel=_ITEMS),
    ] = True,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="COLUMN=VALUE",
            help="Only items with this value, e.g. genres=Comedy; repeat for another value or column.",
            show_default=False,
            rich_help_panel=_ITEMS,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--not",
            metavar="ID",
            help="Never this item (title or id); repeat.",
            show_default=False,
            rich_help_panel=_ITEMS,
        ),
    ] = None,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="N",
            min=0,
            max=1,
            help="0: the best scores; towards 1: unlike each other. Needs --index.",
            rich_help_panel=_ITEMS,
        ),
    ] = 0.0,
    shards: Annotated[int | None, _option("In how many parts the scores are written (20).", _SHARDS)] = None,
    shard: Annotated[
        str | None,
        _option("Make only the shards of one of N workers: I/N, from 0/N on.", _SHARDS, metavar="I/N"),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Replace scores of another input, model or setting.", rich_help_panel=_SHARDS),
    ] = False,
    engine: Annotated[
        str, _option("local (default), or ray: shards as tasks of a Ray cluster of this machine.", _SHARDS)
    ] = "local",
    ray_address: Annotated[
        str | None, _option("Ray cluster that is there instead: HOST:PORT, or auto.", _SHARDS)
    ] = None,
) -> None:
    """Score all users of a table: their best items, or given pairs, as Parquet in shards.

    Each user has scores exactly once, whatever is killed: the same command goes on with the shards that are missing.
    Several workers may share the directory.
    """
    from recalign import api
    from recalign.bulk.request import HISTORY, SHARDS, Share
    from recalign.cli.prepare import mapped_columns
    from recalign.cli.progress import TerminalReporter
    from recalign.data.source import SourceOptions
    from recalign.engines import Engine
    from recalign.errors import ConfigError
    from recalign.recommender import Selection
    from recalign.retrieval.base import Filters
    from recalign.retrieval.selection import RETRIEVE
    from recalign.settings import validated

    if retrieve is not None and index is None:
        raise ConfigError("--retrieve", found="no index", hint="Make one (recalign index) and name it with --index.")
    given = {
        "columns": dict(mapped_columns("columns", columns or [])),
        "header": header,
        "separator": separator,
        "encoding": encoding,
        "time_unit": time_unit,
    }
    source = validated(SourceOptions, {name: value for name, value in given.items() if value}, "options of the table")
    filters = Filters.parse(only or (), exclude_seen=exclude_seen)
    place = Engine.named(engine, ray_address)
    with TerminalReporter() as reporter:
        done = api.score(
            run, users, output, source=source, like_above=like_above, max_history=max_history or HISTORY, k=k,
            selection=Selection(filters, retrieve or RETRIEVE, diversity), without=without or (), pairs=pairs,
            shards=SHARDS if shards is None else shards, share=Share() if shard is None else Share.parse(shard),
            restart=restart, data=data, index=index, backbone=backbone, device=device, endpoint=endpoint, engine=place,
            progress=_with_rate(reporter.task("score", unit := "users" if place.name == "local" else "shards"), unit),
        )  # fmt: skip
    _show(done)


def _with_rate(show: Progress, unit: str) -> Callable[[int, int], None]:
    began = time.monotonic()
    first: int | None = None

    def tell(done: int, total: int) -> None:
        nonlocal began, first
        if first is None:
            began, first = time.monotonic(), done
        rate = (done - first) / max(time.monotonic() - began, 1e-9)
        show(done, total, f"{rate:,.1f} {unit}/s" if rate else "")

    return tell


def _show(done: Scored) -> None:
    console = Console(highlight=False)
    without = f"; {done.rejected_users:,} users without scores (rejects-*.jsonl)" if done.rejected_users else ""
    console.print(Text(f"{done.place}: {done.rows:,} scores of {done.users:,} users{without}"), soft_wrap=True)
    if done.missing:
        shown = ", ".join(str(shard) for shard in done.missing[:10]) + (", …" if len(done.missing) > 10 else "")
        console.print(Text(f"{len(done.missing)} shards of other workers are missing: {shown}"), soft_wrap=True)
