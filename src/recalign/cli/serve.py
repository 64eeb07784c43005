"""`recalign serve`: tuned models behind HTTP, and `recalign events`: what users told them, as a table."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from recalign.cli.client_options import Endpoint, Precision
from recalign.cli.next_step import tell_next
from recalign.errors import ConfigError
from recalign.terminal import say


def serve(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Directories of tuned models, or NAME=DIRECTORY. The first answers where a request names none.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine needs --keys.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen on; 0 for any free one.")
    ] = 8000,
    keys: Annotated[
        Path | None, typer.Option(help="File with the API keys, one on each line.", show_default=False)
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Keep events of users there: a file (SQLite), or a URL such as postgresql://USER@HOST/DATABASE.",
            show_default=False,
        ),
    ] = None,
    like_above: Annotated[
        float | None,
        typer.Option("--like-above", help="Ratings above it count as liked; needed to take any.", show_default=False),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="N", min=0.001, max=600, help="Seconds for one request, at most.")
    ] = 10.0,
    capacity: Annotated[
        int, typer.Option(metavar="N", min=1, help="Candidates that may wait at one time; more are refused with 429.")
    ] = 8_000,
    stall: Annotated[
        float,
        typer.Option(
            metavar="N", min=0.1, help="Seconds without a sign of life from the model until /readyz says 503."
        ),
    ] = 2.0,
    drain: Annotated[
        float,
        typer.Option("--drain", metavar="N", min=0, help="Seconds in which requests are still accepted after SIGTERM."),
    ] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Precision = "auto",
    index: Annotated[
        Path | None,
        typer.Option(help="Index of the catalogue (recalign index); without it all is scored.", show_default=False),
    ] = None,
    retrieve: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --index: candidates that the model scores.")
    ] = 200,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Prepared data: its catalogue replaces the runs', its priors and audit stand beside them.",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Path or hub id of the backbone of all RUNs, if it has moved since tuning.",
            show_default=False,
        ),
    ] = None,
    endpoint: Endpoint = None,
) -> None:
    """Serve tuned models over HTTP: recommend, score, rerank, explain, autocomplete; and a page that shows them, at /.

    The routes are at /docs.

    On SIGTERM or Ctrl-C the server first says that it is not ready, finishes what it accepted, and exits with 0.
    """
    _check_installed("recalign serve", "fastapi", "uvicorn", "sqlalchemy")
    from recalign.serving.run import ServeConfig
    from recalign.serving.run import serve as serve_models

    config = ServeConfig(
        host, port, keys, store, like_above, timeout, capacity, stall, drain, device, precision, index, retrieve, data,
        backbone, endpoint,
    )  # fmt: skip
    serve_models(runs, config, on_start=lambda address, names: say(f"serving {', '.join(names)}: {address}/"))


def events(
    store: Annotated[str, typer.Argument(help="File or URL of recalign serve --store.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.", show_default=False)],
) -> None:
    """Write what users told a server as a table that `recalign prepare table` reads, to tune on."""
    _check_installed("recalign events", "sqlalchemy")
    from recalign.serving.store import export_events

    say(f"{export_events(store, output)} events: {output}")
    tell_next(("prepare", "table", "--input", output, "--items", "ITEMS", "--output", "DATA"))


def _check_installed(command: str, *packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        hint = "Install it: pip install 'recalign[serve]'"
        raise ConfigError(command, found=f"no {', no '.join(missing)}", expected="the web server", hint=hint)
