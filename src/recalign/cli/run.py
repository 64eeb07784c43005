"""`recalign run`: an experiment from one file, from raw ratings to a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from recalign.cli.client_options import Tracker
from recalign.cli.next_step import tell_next
from recalign.terminal import printable, say

if TYPE_CHECKING:
    from recalign.experiment.run import ExperimentRun


def run(
    file: Annotated[Path, typer.Argument(help="The experiment, a TOML file; shipped ones lie in experiments/.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory; default: runs/<name of the file>.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Where what was made is kept, for all runs; default: 'store' beside the run.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            min=1,
            help="Jobs at a time (1; with Ray one per core); they share out the cores.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N seeds of every list.", show_default=False)
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(help="Run on this one of the file's backbones alone; repeat for several.", show_default=False),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray: jobs as tasks of a Ray cluster of this machine.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="Ray cluster that is there instead: HOST:PORT, or auto.", show_default=False)
    ] = None,
    tracker: Tracker = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is left to run and about how many CPU-hours it takes.")
    ] = False,
) -> None:
    """Run an experiment: prepare, tune, evaluate; write results.json and report.html; print the table.

    What is done is not done again, also where another run with the same store did it. A run that stopped goes on where
    it was, and a changed file reruns only what the change touches. A job that fails does not stop the others: they are
    listed at the end, and the exit code is 1.
    """
    from recalign.api import run as run_file
    from recalign.cli.progress import TerminalReporter
    from recalign.engines import Engine
    from recalign.errors import ConfigError
    from recalign.experiment.run import default_output, default_store, estimate_experiment
    from recalign.experiment.tracking import tracked

    place = Engine.named(engine, ray_address)
    if tracker is not None and place.name != "local":
        hint = "On a cluster nothing is told of the inside of jobs; metrics.jsonl of each model has it"
        raise ConfigError(f"--tracker {tracker}", found=f"--engine {engine}", expected="--engine local", hint=hint)
    backbones = tuple(backbone or ())
    target = output or default_output(file, backbones)
    if dry_run:
        for line in estimate_experiment(file, store or default_store(target), seeds=seeds, backbones=backbones).lines():
            say(line)
        return
    with TerminalReporter() as terminal, tracked(terminal, tracker, file.stem, target.parent / "tracking") as reporter:
        done = run_file(
            file, target, store=store, jobs=jobs, engine=place, seeds=seeds, backbones=backbones, reporter=reporter
        )
    show_results(done)
    say(f"\nresults: {target / 'results.json'}\nreport: {target / 'report.html'}")
    tell_next(*_next(done))
    if done.failures:
        raise typer.Exit(1)


def show_results(done: ExperimentRun) -> None:
    """The panels' tables on stdout; what is missing on stderr."""
    from recalign.evaluation.render import print_panel

    console = Console(highlight=False)
    for panel in done.results.panels:
        console.print()
        print_panel(console, panel)
    for missing in done.results.missing:
        say(f"{missing.status}: {printable(missing.job)}: {printable(missing.reason)}", err=True)


def _next(done: ExperimentRun) -> list[tuple[object, ...]]:
    """Commands that use a model of the run: recommending to someone who likes an item of its catalogue, the page."""
    from recalign.tuning.model_artifact import load_catalog

    if not done.models:
        return []
    model = done.models[0]
    title = printable(str(load_catalog(model).frame["title"][0]))
    return [("recommend", model, "--likes", title), ("serve", model)]
