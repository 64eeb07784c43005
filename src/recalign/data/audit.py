"""What about a prepared data set can mislead: a list of findings, computed from its tables.

Findings stop nothing. The checks are in `recalign.data.audit_checks` and `audit_histories`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from recalign.artifacts import Json
from recalign.data import audit_checks as checks
from recalign.data import audit_histories as history_checks
from recalign.data.audit_checks import Finding
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.sample_table import SampleTable


class AuditReport(BaseModel):
    """All findings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Finding, ...] = Field(description="Warnings first, then by code.")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that change what a metric means."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def summary(self) -> dict[str, int]:
        """Code and count of every finding, for a manifest."""
        return {finding.code: finding.count for finding in self.findings}


def audit(table: SampleTable, catalog: ItemCatalog, config: Json, further: Iterable[Finding] = ()) -> AuditReport:
    """Audit the tables of a prepared directory.

    Args:
        table: All samples.
        catalog: Their items.
        config: The manifest's (``protocol``, ``feedback``, ``domain``).
        further: Findings of checks that need more than the tables.
    """
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
        *further,
    ]
    in_order = sorted(findings, key=lambda finding: (finding.severity != "warning", finding.code))
    return AuditReport(findings=tuple(in_order))
