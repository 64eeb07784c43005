"""`recalign teach`: prepared data and a teacher in, chain-of-thought data to tune on out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from recalign.cli import client_options
from recalign.cli.client_options import option
from recalign.cli.next_step import tell_next
from recalign.errors import ConfigError

_NO_SETTINGS: Final = ("data", "output", "dry_run", "overwrite", "ledger", "settings")


def teach(
    data: Annotated[Path, typer.Argument(help="Prepared data of the source domain.", show_default=False)],
    output: Annotated[Path | None, option("Directory to write.", None, "--output", "-o")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the estimate and one example of each prompt; call nobody.")
    ] = False,
    filter: Annotated[str | None, option("hit (default): the truth must be recommended; or valid-only.")] = None,
    seed: Annotated[int | None, option("Root of all randomness (0).")] = None,
    split: Annotated[str | None, option("Split whose positive samples are asked about: train or valid.")] = None,
    template: Annotated[str | None, option("Chain-of-thought template: a name, or a .toml (tlrec-cot).")] = None,
    retry_rejected: Annotated[
        bool | None, option("Ask again where an earlier answer was rejected.", None, "--retry-rejected")
    ] = None,
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
    given = {name: value for name, value in locals().items() if name not in _NO_SETTINGS and value is not None}
    from recalign.artifacts import already
    from recalign.cli.progress import TerminalReporter
    from recalign.cot.config import TeachConfig
    from recalign.cot.estimate import preview
    from recalign.cot.teach import find_taught
    from recalign.cot.teach import teach as run
    from recalign.cot.teachers import make_teacher
    from recalign.data.samples import SampleSet
    from recalign.settings import parse_settings, validated
    from recalign.terminal import printable, say

    config = validated(TeachConfig, parse_settings(settings or [], into=given), "options of recalign teach")
    samples = SampleSet.load(data)
    if dry_run:
        typer.echo("\n".join(printable(line) for line in preview(samples, config)))
        return
    if output is None:
        raise ConfigError("recalign teach needs an output directory", hint="Pass --output DIR, or --dry-run.")
    if done := find_taught(samples, config, output, overwrite=overwrite):
        say("\n".join([already("taught", output), *done.lines()]))
        return
    chosen = make_teacher(samples, config)
    with TerminalReporter() as reporter:
        statistics = run(
            samples,
            chosen,
            config,
            output,
            ledger=ledger,
            overwrite=overwrite,
            announce=reporter.note,
            progress=reporter.task(f"teacher {chosen.name}", "samples"),
        )
    say("\n".join([*statistics.lines(), str(output)]))
    tell_next(("tune", "--data", data, "--kind", "cot", "--cot", output, "--output", "runs/cot"), err=True)
