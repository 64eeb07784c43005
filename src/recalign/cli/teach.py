"""`recalign teach`: prepared data and a teacher in, chain-of-thought data to tune on out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalign.cli import client_options
from recalign.errors import ConfigError

if TYPE_CHECKING:
    from recalign.cot.config import TeachConfig
    from recalign.cot.statistics import TeachStatistics
    from recalign.data.samples import SampleSet


def _option(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


def teach(
    data: Annotated[Path, typer.Argument(help="Prepared data of the source domain.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory to write.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the estimate and one example of each prompt; call nobody.")
    ] = False,
    filter: Annotated[str | None, _option("hit (default): the truth must be recommended; or valid-only.")] = None,
    seed: Annotated[int | None, _option("Root of all randomness (0).")] = None,
    split: Annotated[str | None, _option("Split whose positive samples are asked about: train or valid.")] = None,
    template: Annotated[str | None, _option("Chain-of-thought template: a name, or a .toml (tlrec-cot).")] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask again where an earlier answer was rejected.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace data written before.")] = False,
    teacher: client_options.Teacher = None,
    base_url: client_options.BaseUrl = None,
    key_env: client_options.KeyEnv = None,
    ledger: client_options.LedgerFile = None,
    limit: client_options.Limit = None,
    max_tokens_total: client_options.TotalTokens = None,
    max_cost: client_options.MaxCost = None,
    price_in: client_options.PriceIn = None,
    price_out: client_options.PriceOut = None,
    settings: client_options.Settings = None,
) -> None:
    """Let a teacher write chain-of-thought data: preferences, featured items, recommendations.

    Writes stage1/2/3.jsonl (rows to tune on; the same samples in each), provenance.jsonl, dropped.jsonl and
    manifest.json. Answers that cost something are kept in a ledger: the same command continues where it stopped.
    """
    given = client_options.given(
        teacher=teacher,
        base_url=base_url,
        key_env=key_env,
        limit=limit,
        max_tokens_total=max_tokens_total,
        max_cost=max_cost,
        price_in=price_in,
        price_out=price_out,
        filter=filter,
        seed=seed,
        split=split,
        template=template,
        retry_rejected=retry_rejected or None,
    )
    from recalign.cot.config import TeachConfig
    from recalign.cot.estimate import preview
    from recalign.data.samples import SampleSet
    from recalign.settings import parse_settings, validated
    from recalign.terminal import printable

    config = validated(TeachConfig, parse_settings(settings or [], into=given), "options of recalign teach")
    samples = SampleSet.load(data)
    if dry_run:
        lines = [printable(line) for line in preview(samples, config)]
    elif output is None:
        raise ConfigError("recalign teach needs an output directory", hint="Pass --output DIR, or --dry-run.")
    else:
        lines = [*_teach(samples, config, output, ledger, overwrite).lines(), str(output)]
    for line in lines:
        typer.echo(line)


def _teach(
    samples: SampleSet, config: TeachConfig, output: Path, ledger: Path | None, overwrite: bool
) -> TeachStatistics:
    from recalign.cli.progress import TerminalReporter
    from recalign.cot.teach import teach as run
    from recalign.cot.teachers import make_teacher

    teacher = make_teacher(samples, config)
    with TerminalReporter() as reporter:
        progress = reporter.task(f"teacher {teacher.name}", "samples")
        return run(
            samples,
            teacher,
            config,
            output,
            ledger=ledger,
            overwrite=overwrite,
            announce=reporter.note,
            progress=progress,
        )
