"""`recalign audit`: what about prepared data can mislead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from recalign.data.audit import AuditReport, PromptLengths
    from recalign.data.samples import SampleSet


def audit(
    data: Annotated[Path, typer.Argument(help="Prepared directory.", show_default=False)],
    backbone: Annotated[
        str | None,
        typer.Option(help="Count prompts that this backbone would truncate (path or hub id).", show_default=False),
    ] = None,
    max_length: Annotated[int, typer.Option(min=16, help="With --backbone: longest prompt in tokens.")] = 512,
    template: Annotated[
        str | None, typer.Option(help="With --backbone: prompt template; the data's by default.", show_default=False)
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look for leakage, shifts, duplicates, suspicious titles and prompts that would be truncated."""
    from rich.console import Console

    from recalign.data.audit import audit as run
    from recalign.data.samples import SampleSet

    sample_set = SampleSet.load(data)
    measure: dict[str, Any] = {}
    if backbone is not None:
        lengths = _prompt_lengths(sample_set, backbone, template or sample_set.template)
        measure = {"prompt_lengths": lengths, "max_length": max_length}
    report = run(sample_set, **measure)
    if json_output:
        sys.stdout.write(report.model_dump_json() + "\n")
    else:
        show_findings(Console(highlight=False), report)


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


def _prompt_lengths(sample_set: SampleSet, name: str, template: str) -> PromptLengths:
    """Token counts of whole prompts, by the encoding path of tuning and scoring, with nothing truncated."""
    from recalign.models.backbone import load_backbone
    from recalign.models.config import BackboneConfig
    from recalign.prompting.domain import Domain
    from recalign.prompting.encoding import PromptEncoder
    from recalign.prompting.template import HistoryText, PromptTemplate

    loaded = load_backbone(BackboneConfig(name=name, device="cpu"))
    domain = Domain(**sample_set.domain)
    encoder = PromptEncoder(PromptTemplate.load(template), domain, loaded.tokenizer, max_length=sys.maxsize)
    text = sample_set.catalog.text

    def lengths(samples: Any) -> list[int]:
        histories = [[HistoryText(text(e.item_id), e.liked, e.rating) for e in sample.history] for sample in samples]
        targets = [text(sample.item_id) for sample in samples]
        encoded = encoder.encode_many(histories, targets, [sample.label for sample in samples])
        return [len(prompt.ids) for prompt in encoded]

    return lengths
