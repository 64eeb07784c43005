"""The `recalign` command: one verb per module, one error boundary.

Verbs import their heavy parts when they run, so `--help` loads neither torch nor polars.
"""

from __future__ import annotations

import sys

import typer

from recalign.cli.audit import audit
from recalign.cli.download import download
from recalign.cli.evaluate import evaluate
from recalign.cli.prepare import prepare
from recalign.cli.recommend import recommend
from recalign.cli.run import run as run_recipe
from recalign.cli.tune import tune
from recalign.errors import Interrupted, RecalignError
from recalign.terminal import printable

app = typer.Typer(
    name="recalign",
    help="Align a language model with recommendation: ratings and item titles in, a tuned recommender out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main() -> None:
    """Align a language model with recommendation."""


for verb in (prepare, audit, download, tune, evaluate, recommend):
    app.command()(verb)
app.command("run")(run_recipe)


def run() -> None:
    """Entry point: a `RecalignError` becomes one printable line on stderr and exit code 2; anything else is a bug."""
    try:
        app()
    except Interrupted as stop:
        sys.stderr.write(f"recalign: {printable(str(stop))}\n")
        raise SystemExit(128 + stop.signal_number) from None
    except RecalignError as error:
        sys.stderr.write(f"recalign: {printable(str(error))}\n")
        raise SystemExit(2) from None
