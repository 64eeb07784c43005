"""`recalign report`: the results of a run as one page, with its tables and figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recalign.cli.next_step import tell_next


def report(
    run: Annotated[Path, typer.Argument(help="Directory of a run (with results.json).", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page; RUN/report.html if not given.", show_default=False),
    ] = None,
) -> None:
    """Show a run: one self-contained HTML page, and beside it CSV, SVG and PNG files.

    It reads results.json and nothing else; the same results give the same files.
    """
    from rich.console import Console

    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.experiment.progress import counted
    from recalign.report import write_report

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        written = write_report(run, output, progress=counted(reporter.task("report", "figures")))
    console = Console(highlight=False)
    for line in (
        f"report: {written.page}",
        f"files: {written.folder} ({written.tables} tables, {written.figures} figures, results.json)",
    ):
        console.print(line, markup=False, soft_wrap=True)
    models = sorted(path.parent for path in run.glob("models/*/manifest.json"))
    tell_next(("recommend", models[0], "--likes", "TITLE") if models else ("run", "EXPERIMENT.toml"))
