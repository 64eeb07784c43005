"""The `recalign` command: one verb per module, one error boundary.

Verbs import their heavy parts when they run, so `--help` loads neither torch nor polars.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from recalign import __version__
from recalign.cli.audit import audit
from recalign.cli.baseline import baseline
from recalign.cli.candidates import candidates
from recalign.cli.config import config
from recalign.cli.download import download
from recalign.cli.evaluate import evaluate
from recalign.cli.export import export
from recalign.cli.help import Command
from recalign.cli.import_model import import_model
from recalign.cli.index import index
from recalign.cli.page import page
from recalign.cli.prepare import prepare
from recalign.cli.push import push
from recalign.cli.recommend import RecommendCommand, recommend
from recalign.cli.report import report
from recalign.cli.run import run as run_experiment
from recalign.cli.score import score
from recalign.cli.serve import events, serve
from recalign.cli.teach import teach
from recalign.cli.tune import tune
from recalign.errors import Interrupted, RecalignError
from recalign.terminal import ended, say

# typer takes it from click, or from its own copy of click, depending on its version.
_UsageError: Any = typer.BadParameter.__bases__[0]

# Verb -> the page of docs/ that explains it.
PAGES: Final = {
    "prepare": "own-data.md",
    "audit": "data.md",
    "download": "data.md",
    "teach": "teaching.md",
    "tune": "choosing.md",
    "baseline": "experiments.md",
    "candidates": "experiments.md",
    "evaluate": "explanation/priors.md",
    "index": "retrieval.md",
    "recommend": "recommending.md",
    "score": "scoring.md",
    "run": "experiments.md",
    "export": "export.md",
    "import": "backbones.md",
    "serve": "serving.md",
    "events": "serving.md",
    "page": "serving.md",
    "report": "reports.md",
}

app = typer.Typer(
    name="recalign",
    help="Align a language model with recommendation: ratings and item titles in, a tuned recommender out.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"recalign {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Align a language model with recommendation."""


_VERBS: Final[tuple[Callable[..., None], ...]] = (
    prepare, audit, download, teach, tune, baseline, candidates, evaluate, index, recommend, score, run_experiment,
    export, push, import_model, serve, events, page, report, config,
)  # fmt: skip
_NAMES: Final = {import_model: "import"}  # a word of Python

for verb in _VERBS:
    app.command(_NAMES.get(verb), cls=RecommendCommand if verb is recommend else Command)(verb)


def run() -> None:
    """Entry point: a `RecalignError` becomes one line on stderr and its exit code; anything else is a bug."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False, prog_name="recalign")
    except RecalignError as error:
        said = str(error) if isinstance(error, Interrupted) else _with_page(str(error), sys.argv[1:])
        say(f"recalign: {said}", err=True)
        raise SystemExit(error.exit_code) from None
    except _UsageError as error:
        message = " ".join(error.format_message().split())
        command = error.ctx.command_path if error.ctx else "recalign"
        say(f"recalign: {ended(message)} See: {command} --help", err=True)
        raise SystemExit(2) from None
    except typer.Abort:
        raise SystemExit(130) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _with_page(message: str, words: list[str]) -> str:
    """The message, and the page that explains the verb of this command line."""
    page = PAGES.get(words[0] if words else "")
    if page is None:
        return message
    # No path and no address: who installed a wheel has no folder docs/.
    return f"{ended(message)} See the documentation, page {page.removesuffix('.md')}"
