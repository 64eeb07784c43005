"""`recalign experiment`: a table or figure, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def experiment(
    file: Annotated[Path, typer.Argument(help="The experiment, a TOML file; shipped ones lie in experiments/.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where results go; default: runs/<name of the file>.")
    ] = None,
    store: Annotated[
        Path, typer.Option(help="Where runs are kept; experiments with the same store share equal runs.")
    ] = Path("runs/store"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Worker processes; they share out the cores.")] = 1,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Only the first N seeds of every list.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is left to run and about how many CPU-hours it takes.")
    ] = False,
) -> None:
    """Run a grid of models, data sets, shots and seeds, and write results.json.

    Runs that are done are not run again, also those of other experiments in the same store; a stopped experiment goes
    on where it was, and a changed file reruns only what the change touches. A run that fails does not stop the others:
    they are listed at the end, and the exit code is 1.
    """
    from rich.console import Console

    from recalign.experiment.run import estimate_experiment, run_experiment
    from recalign.terminal import printable

    target = output or Path("runs") / file.stem
    if dry_run:
        for line in estimate_experiment(file, store, seeds=seeds).lines():
            typer.echo(line)
        return
    console = Console(stderr=True, highlight=False)
    done = run_experiment(
        file, target, store, jobs=jobs, seeds=seeds, note=lambda text: console.print(printable(text), markup=False)
    )
    for panel in done.study.panels:
        typer.echo(f"\n{printable(panel.title)}: {panel.n:,} samples of {panel.n_users:,} users")
        for row in panel.rows:
            auc = row.metrics.auc
            figure = f"{auc.mean:.4f}" if auc else "  –   "
            sd = f" ±{auc.sd:.3f}" if auc and auc.sd is not None else ""
            beats = "" if row.verdict is None else "  beats the priors" if row.verdict.beats else ""
            state = "" if row.status == "done" else f"  ({row.status}: {printable(row.reason)})"
            typer.echo(f"  {printable(row.title)[:44]:44} AUC {figure}{sd}{beats}{state}")
    for each in done.study.missing:
        typer.echo(f"{each.status}: {printable(each.job)}: {printable(each.reason)}", err=True)
    typer.echo(f"\nresults: {target / 'results.json'}\nnext: recalign report {target}")
    if done.failures:
        raise typer.Exit(1)
