"""What about a prepared data set can mislead: a list of findings, computed from its tables.

Nothing here changes data. A finding is ``info`` (worth knowing) or ``warning`` (changes what a metric means); neither
stops anything. The checks are in `recalign.data.audit_checks` and `audit_histories`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from recalign.artifacts import Json
from recalign.data import audit_checks as checks
from recalign.data import audit_histories as history_checks
from recalign.data.audit_checks import Finding
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.sample_table import SampleTable
from recalign.data.samples import Sample, SampleSet, to_samples
from recalign.errors import ConfigError

PromptLengths = Callable[[Sequence[Sample]], Sequence[int]]  # token counts of the samples' untruncated prompts

_MEASURED: Final = 5_000  # samples whose prompts are measured, evenly spaced


class AuditReport(BaseModel):
    """All findings, warnings first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Finding, ...] = Field(description="Warnings first, then by code.")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that change what a metric means."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def summary(self) -> dict[str, int]:
        """Code and count of every finding, for a manifest."""
        return {finding.code: finding.count for finding in self.findings}


def audit(
    sample_set: SampleSet, *, prompt_lengths: PromptLengths | None = None, max_length: int | None = None
) -> AuditReport:
    """Audit a prepared directory.

    Args:
        sample_set: The prepared data.
        prompt_lengths: Counts the tokens of untruncated prompts (this package knows no tokenizer); with it, prompts
            longer than `max_length` are reported.
        max_length: The longest prompt in tokens.

    Raises:
        ConfigError: only one of `prompt_lengths` and `max_length` is given.
    """
    return audit_tables(
        sample_set.table(),
        sample_set.catalog,
        sample_set.manifest.config,
        prompt_lengths=prompt_lengths,
        max_length=max_length,
    )


def audit_tables(
    table: SampleTable,
    catalog: ItemCatalog,
    config: Json,
    *,
    prompt_lengths: PromptLengths | None = None,
    max_length: int | None = None,
) -> AuditReport:
    """Audit tables that are not on disk yet; `config` is the manifest's (``protocol``, ``feedback``, ``domain``)."""
    if (prompt_lengths is None) != (max_length is None):
        raise ConfigError("prompt lengths and the longest prompt go together", found="one without the other")
    protocol, domain = str(config["protocol"]["name"]), Domain.model_validate(config["domain"])
    samples = table.samples
    findings = [
        *checks.users_in_several_splits(samples, protocol),
        *checks.targets_out_of_time(samples, protocol),
        *history_checks.targets_in_histories(table),
        *history_checks.shared_histories(table),
        *checks.repeated_targets(samples),
        *checks.prevalence(samples),
        *checks.few_users(samples),
        *checks.zero_ratings(samples, config["feedback"]),
        *checks.duplicate_texts(catalog.frame),
        *checks.label_words(catalog.frame, domain),
        *checks.suspicious_texts(catalog.frame, domain),
        *checks.deciding_words(samples, catalog.frame),
    ]
    if prompt_lengths is not None and max_length is not None:
        step = -(-len(samples) // _MEASURED) or 1
        measured = table.frame(samples.gather_every(step))
        findings += checks.truncated_prompts(prompt_lengths(to_samples(measured)), max_length)
    in_order = sorted(findings, key=lambda finding: (finding.severity != "warning", finding.code))
    return AuditReport(findings=tuple(in_order))
