"""The results document of a run: its panels from stored score files, what is missing, and how it was made.

Nothing is scored here but the priors, which learn nothing that is worth keeping.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from recalign.data.audit import AuditReport
from recalign.evaluation.document import Panel
from recalign.experiment.config import Experiment
from recalign.experiment.jobs import PrepareWork
from recalign.experiment.panels import collect_panel
from recalign.experiment.plan import ExperimentPlan, PanelPlan
from recalign.experiment.prepare import AUDIT_FILE
from recalign.experiment.results import Finding, Missing, Results
from recalign.experiment.scheduler import JobOutcome
from recalign.experiment.store import Store

_PACKAGES = ("recalign", "torch", "transformers", "peft", "tokenizers", "numpy", "polars", "scipy")


def make_results(
    experiment: Experiment,
    plan: ExperimentPlan,
    outcomes: Mapping[str, JobOutcome],
    store: Store,
    *,
    commands: Sequence[str],
    settings: str,
) -> Results:
    """The results of an experiment as far as it has run.

    Args:
        experiment: The experiment.
        plan: Its jobs and panels.
        outcomes: What became of the jobs.
        store: Where their outputs are.
        commands: What to type to get here.
        settings: The experiment's file.

    Raises:
        ArtifactError, DataError: A score file or data set is damaged, or score files do not go together.
    """
    missing = [
        Missing(job=plan.jobs[key].name, status=outcome.status, reason=outcome.reason)
        for key, outcome in outcomes.items()
        if outcome.status == "failed" or outcome.status == "skipped"
    ]
    panels = []
    for panel in plan.panels:
        where = f"panel {panel.entry.name}"
        if not all(store.is_done(job) for job in panel.reads):
            missing.append(Missing(job=where, status="skipped", reason="data that it reads could not be prepared"))
            continue
        shown = collect_panel(experiment, panel, store)
        panels.append(shown)
        absent = {cell.model: cell.reason for cell in panel.cells if cell.reason}
        missing += [
            Missing(job=f"{model}, {where}", status="not run", reason=reason) for model, reason in absent.items()
        ]
        missing += _broken_promises(shown, panel, store)
    costs = [cost for job in plan.jobs.values() if (cost := store.cost(job)) is not None]
    return Results(
        name=experiment.name,
        title=experiment.title,
        description=experiment.description,
        paper=experiment.paper,
        commands=tuple(commands),
        versions=_versions(),
        machine=_machine(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu_hours=round(sum(cost.cpu_seconds for cost in costs) / 3600, 3),
        missing=tuple(missing),
        panels=tuple(panels),
        figures=experiment.figures,
        audit=_audit(plan, store),
        settings=settings,
    )


def _broken_promises(shown: Panel, panel: PanelPlan, store: Store) -> list[Missing]:
    """Rows that are not shown although their scores are there: a promise was broken."""
    scored = {cell.row for cell in panel.cells if cell.scores and all(store.is_done(job) for job in cell.scores)}
    return [
        Missing(job=f"{row.title}, panel {shown.name}", status="failed", reason=row.reason)
        for row in shown.rows
        if row.status == "not run" and (row.model, row.backbone, row.shots, row.control) in scored
    ]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def _machine() -> dict[str, str | int]:
    """Processor, cores and system; no name of the machine or of a user."""
    processor = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = [line for line in facts.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        processor = lines[0].partition(":")[2].strip() if lines else processor
    return {"processor": processor, "cores": os.cpu_count() or 1, "system": platform.system()}


def _audit(plan: ExperimentPlan, store: Store) -> dict[str, tuple[Finding, ...]]:
    """The audit of every data set that a panel tests on, of the first fold where there are several."""
    findings: dict[str, tuple[Finding, ...]] = {}
    for panel in plan.panels:
        job = panel.data[0]
        assert isinstance(job.work, PrepareWork)
        path = store.path(job.output) / AUDIT_FILE
        if path.exists():
            report = AuditReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
            findings[job.name] = tuple(
                Finding(check=finding.code, severity=finding.severity, text=finding.message)
                for finding in report.findings
            )
    return findings
