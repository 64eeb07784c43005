"""`recalign teach`: prepared data and a teacher in, chain-of-thought data to tune on out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalign.errors import ConfigError

if TYPE_CHECKING:
    from recalign.data.samples import SampleSet
    from recalign.teacher.config import TeachConfig
    from recalign.teacher.pipeline import TeachProgress

_ENDPOINT = "Endpoint (teacher openai:MODEL)"
_BUDGET = "Budget"


def _option(text: str, panel: str | None = None) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=False)


def teach(
    data: Annotated[Path, typer.Argument(help="Prepared data of the source domain.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory to write.", show_default=False)
    ] = None,
    teacher: Annotated[
        str | None, _option("heuristic (default; no network, no cost), openai:MODEL, or hf:PATH_OR_ID.")
    ] = None,
    limit: Annotated[int | None, _option("Source samples considered, drawn by seed. Default: all.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the estimate and one example of each prompt; call nobody.")
    ] = False,
    filter: Annotated[str | None, _option("hit (default): the truth must be recommended; or valid-only.")] = None,
    seed: Annotated[int | None, _option("Root of all randomness (0).")] = None,
    split: Annotated[str | None, _option("Split whose positive samples are asked about: train or valid.")] = None,
    template: Annotated[str | None, _option("Chain-of-thought template: a name, or a .toml (tlrec-cot).")] = None,
    temperature: Annotated[float | None, _option("Sampling temperature (0.2).")] = None,
    max_tokens: Annotated[int | None, _option("Longest answer in tokens (512).")] = None,
    ledger: Annotated[Path | None, _option("Where paid answers are kept. Default: OUTPUT.ledger.sqlite.")] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask again where an earlier answer was rejected.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace data written before.")] = False,
    base_url: Annotated[str | None, _option("Address of an OpenAI-compatible endpoint.", _ENDPOINT)] = None,
    key_env: Annotated[
        str | None, _option("Environment variable that holds the API key (OPENAI_API_KEY).", _ENDPOINT)
    ] = None,
    concurrency: Annotated[int | None, _option("Most calls in flight (8).", _ENDPOINT)] = None,
    deadline: Annotated[float | None, _option("Seconds for one call in all (120).", _ENDPOINT)] = None,
    attempts: Annotated[int | None, _option("Calls made for one answer before it is given up (6).", _ENDPOINT)] = None,
    max_tokens_total: Annotated[int | None, _option("Most tokens spent, of prompts and answers.", _BUDGET)] = None,
    max_cost: Annotated[float | None, _option("Most money spent; needs both prices.", _BUDGET)] = None,
    price_in: Annotated[float | None, _option("Price of a million prompt tokens.", _BUDGET)] = None,
    price_out: Annotated[float | None, _option("Price of a million answer tokens.", _BUDGET)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, e.g. similar_users=12; repeat."),
    ] = None,
) -> None:
    """Let a teacher write chain-of-thought data: preferences, featured items, recommendations.

    Writes stage1/2/3.jsonl (rows to tune on; the same samples in each), provenance.jsonl, dropped.jsonl and
    manifest.json. Answers that cost something are kept in a ledger: the same command continues where it stopped.
    """
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    for name in ("data", "output", "dry_run", "ledger", "overwrite", "settings"):
        given.pop(name, None)
    from recalign.cli.progress import TerminalReporter
    from recalign.data.samples import SampleSet

    config = _config(given, settings or [])
    samples = SampleSet.load(data)
    if dry_run:
        _preview(samples, config)
        return
    if output is None:
        raise ConfigError("recalign teach needs an output directory", hint="Pass --output DIR, or --dry-run.")
    from recalign.teacher.factory import make_teacher
    from recalign.teacher.teach import teach as run

    asked = make_teacher(samples, config)
    with TerminalReporter() as reporter:
        show = reporter.task(f"teacher {asked.name}", "samples")

        def progress(report: TeachProgress) -> None:
            show(report.done, report.total, f"{report.spent.total:,} tokens" if report.spent.total else "")

        options: dict[str, Any] = {"ledger": ledger, "overwrite": overwrite, "announce": reporter.note}
        statistics = run(samples, asked, config, output, progress=progress, **options)
    for line in (*statistics.lines(), str(output)):
        typer.echo(line)


def _config(given: dict[str, Any], settings: list[str]) -> TeachConfig:
    from recalign.settings import parse_settings, validated
    from recalign.teacher.config import TeachConfig

    return validated(TeachConfig, parse_settings(settings, into=given), "options of recalign teach")


def _preview(samples: SampleSet, config: TeachConfig) -> None:
    """The estimate, then each prompt of the first case; the answers in them are the heuristic teacher's."""
    from recalign.teacher.estimate import example_prompts
    from recalign.teacher.teach import make_source

    source = make_source(samples, config)
    shown = [f"teacher: {config.teacher} (not called)", *source.estimate().lines()]
    for stage, prompt in enumerate(example_prompts(source.cases[0], source.questions, samples), start=1):
        note = "" if stage == 1 else "; the answers in it are the heuristic teacher's"
        shown += ["", f"--- prompt of stage {stage}{note} ---", prompt]
    from recalign.terminal import printable

    for line in "\n".join(shown).split("\n"):
        typer.echo(printable(line))
