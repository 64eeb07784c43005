"""`recalign audit`: what about prepared data can mislead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recalign.cli.next_step import after_prepare, tell_next

if TYPE_CHECKING:
    from rich.console import Console

    from recalign.data.audit import AuditReport


def audit(
    data: Annotated[Path, typer.Argument(help="Prepared directory.", show_default=False)],
    backbone: Annotated[
        str | None,
        typer.Option(help="Count prompts that this backbone would truncate (path or hub id).", show_default=False),
    ] = None,
    max_length: Annotated[
        int, typer.Option(metavar="N", min=16, help="With --backbone: longest prompt in tokens.")
    ] = 512,
    template: Annotated[
        str | None, typer.Option(help="With --backbone: prompt template; the data's by default.", show_default=False)
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look for leakage, shifts, duplicates, suspicious titles and prompts that would be truncated."""
    from rich.console import Console

    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.data.samples import SampleSet
    from recalign.experiment.audit import audit_with

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        progress = reporter.task("audit", "prompts")
        report = audit_with(SampleSet.load(data), backbone, max_length=max_length, template=template, progress=progress)
    if json_output:
        sys.stdout.write(report.model_dump_json() + "\n")
    else:
        show_findings(Console(highlight=False), report)
        tell_next(*after_prepare(data))


def show_findings(console: Console, report: AuditReport) -> None:
    """Print findings, one line each (wrapped), with their examples."""
    from rich.text import Text

    if not report.findings:
        console.print("audit: nothing found")
        return
    console.print(f"audit: {len(report.warnings)} warnings, {len(report.findings) - len(report.warnings)} notes")
    for finding in report.findings:
        mark = ("! ", "yellow") if finding.severity == "warning" else ("  ", "")
        examples = f" ({'; '.join(finding.examples)})" if finding.examples else ""
        console.print(Text.assemble(mark, (finding.code, "bold"), f": {finding.message}{examples}"))
    console.print()
