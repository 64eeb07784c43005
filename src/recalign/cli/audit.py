"""`recalign audit`: what about prepared data can mislead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recalign.cli.next_step import after_prepare, tell_next
from recalign.terminal import ended, say

if TYPE_CHECKING:
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
    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.data.samples import SampleSet
    from recalign.experiment.audit import audit_with

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        progress = reporter.task("audit", "prompts")
        report = audit_with(SampleSet.load(data), backbone, max_length=max_length, template=template, progress=progress)
    if json_output:
        sys.stdout.write(report.model_dump_json() + "\n")
    else:
        show_findings(report)
        tell_next(*after_prepare(data))


def show_findings(report: AuditReport) -> None:
    """Print the findings with their examples and what they mean. None of them is an error, and this is said."""
    from recalign.data.audit_meanings import meaning

    if not report.findings:
        say("audit: nothing found")
        return
    warnings, notes = len(report.warnings), len(report.findings) - len(report.warnings)
    told = f"{warnings} warning{'s' * (warnings != 1)}, {notes} note{'s' * (notes != 1)}"
    say(f"audit: {told}; none of them stops anything")
    for finding in report.findings:
        mark, name = ("!", "warning") if finding.severity == "warning" else ("-", "note")
        examples = f" ({'; '.join(finding.examples)})" if finding.examples else ""
        say(f"{mark} {finding.code} ({name}): {ended(finding.message + examples)} {meaning(finding.code)}")
    say("")
