"""`recalign run`: a whole recipe, from raw ratings to a results table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file; shipped ones lie in recipes/.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory; default: runs/<name of the recipe>.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard what was made from other settings instead of refusing it.")
    ] = False,
) -> None:
    """Run a recipe: prepare, tune, evaluate, and print the results with the priors beside them.

    A stopped run goes on where it was when the same command is given again.
    """
    from rich.console import Console

    from recalign.cli.progress import TerminalReporter
    from recalign.experiment.recipe import load_recipe
    from recalign.experiment.results import evaluate_recipe
    from recalign.experiment.runner import tune_recipe

    loaded = load_recipe(recipe)
    target = output or Path("runs") / loaded.name
    with TerminalReporter() as reporter:
        artefacts = tune_recipe(loaded, target, restart=restart, reporter=reporter)
        results = evaluate_recipe(loaded, artefacts, target, reporter=reporter)
    console = Console(highlight=False)
    for table in results.tables():
        console.print(table)
    console.print(f"results: {target / 'results.md'}", markup=False)
