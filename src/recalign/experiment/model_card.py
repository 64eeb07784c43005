"""The card of a model that goes to a hub: its numbers are those of the run's ``results.json``, the priors beside them.

Names and titles come from strangers: in Markdown they are escaped, in YAML quoted, and they stay on one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub import EvalResult, ModelCardData

from recalign.artifacts import MANIFEST_NAME, read_manifest
from recalign.data.samples import KIND as DATA
from recalign.errors import ConfigError
from recalign.evaluation.cells import Table, fixed, interval
from recalign.evaluation.document import BESIDE, Panel, Row
from recalign.evaluation.metric import METRICS, deciding
from recalign.evaluation.score_file import ScoreFile
from recalign.evaluation.tables import ranking_table, results_table
from recalign.experiment.results import RESULTS_FILE, Results
from recalign.experiment.run_directory import slug
from recalign.terminal import printable
from recalign.tuning.export_card import ExportFacts, escaped
from recalign.tuning.model_artifact import KIND as MODEL

TASK: Final = "text-ranking"


@dataclass(frozen=True)
class Measured:
    """What a run says of one model: its row, and the panel that the row is in."""

    panel: Panel
    row: Row


@dataclass(frozen=True)
class TrainedOn:
    """Data whose labels a model has seen. `licence` is "" where the run does not have the data."""

    name: str
    labels: int
    licence: str


def run_of(model: Path) -> Path | None:
    """The run that ``RUN/models/NAME`` belongs to; None for a model by itself."""
    run = model.parent.parent
    return run if model.parent.name == "models" and (run / RESULTS_FILE).is_file() else None


def measured(model: Path) -> list[Measured]:
    """The rows of a model in the results of its run; none for a model by itself.

    Raises:
        ArtifactError: The results or a score file are damaged.
        ConfigError: More than one row of a panel may be the model's.
    """
    run = run_of(model)
    if run is None:
        return []
    shots = read_manifest(model, kind=MODEL, verify=False).config["stage"].get("shots")
    found = []
    for panel in Results.read(run).panels:
        named = re.compile(rf"{re.escape(model.name)}(-fold-\d+)?")
        files = [path for path in (run / "scores" / panel.name).glob("*.parquet") if named.fullmatch(path.stem)]
        if files:
            found.append(Measured(panel, _row(panel, ScoreFile.read(min(files)), model.name, shots)))
    return found


def _row(panel: Panel, scores: ScoreFile, name: str, shots: int | None) -> Row:
    label, seed = scores.frame["model"][0], scores.frame["seed"][0]
    rows = [row for row in panel.plain_rows if row.kind == "tuned" and row.model == label and seed in row.seeds]
    if len(rows) > 1:
        rows = [row for row in rows if row.shots == shots]
    if len({row.backbone for row in rows}) > 1:  # then a model is named after its backbone, too
        rows = [row for row in rows if f"-{slug(row.backbone)}-" in f"-{name}-"]
    if len(rows) != 1:
        found = f"{len(rows)} rows that may be those of {name}"
        raise ConfigError(f"panel {panel.name} of the results", found=found, expected="one")
    return rows[0]


def trained_on(model: Path) -> list[TrainedOn]:
    """The data whose labels a model has seen, by the names that its run gives them."""
    run, known = run_of(model), dict[str, tuple[str, str]]()
    for directory in sorted((run / "data").glob("*")) if run is not None else ():
        if (directory / MANIFEST_NAME).is_file():
            manifest = read_manifest(directory, kind=DATA, verify=False)
            known[manifest.fingerprint] = (directory.name, str(manifest.info.get("licence", "")))
    seen = read_manifest(model, kind=MODEL, verify=False).config["labels_seen"]
    trained = []
    for fingerprint, labels in seen.items():
        name, licence = known.get(fingerprint, (str(labels["data"]), ""))
        trained.append(TrainedOn(printable(name), labels["train"] + labels["valid"], printable(licence)))
    return trained


def card_data(repository: str, facts: ExportFacts, licence: str, rows: Sequence[Measured]) -> ModelCardData:
    """The head of the card.

    Args:
        repository: Hub id of the model.
        facts: Of the exported LoRA; its base has a hub id.
        licence: Name of the licence by the hub's list, such as ``apache-2.0``.
        rows: From `measured`.
    """
    results = [result for entry in rows for result in _eval_results(entry)]
    return ModelCardData(
        base_model=facts.base.name,
        base_model_relation="adapter",
        library_name="peft",
        pipeline_tag=TASK,
        license=licence,
        tags=["recalign", "recommendation", "lora"],
        model_name=repository.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )


def _eval_results(entry: Measured) -> Iterator[EvalResult]:
    """The metrics that models are compared by: of the row, then of each prior and reference."""
    panel = entry.panel
    beside = [row for row in panel.plain_rows if row.kind in BESIDE]
    for name, metric in deciding():
        for row in (entry.row, *beside):
            value = row.mean(name)
            if value is not None and entry.row.mean(name) is not None:
                yield EvalResult(
                    task_type=TASK,
                    task_name="Recommendation",
                    dataset_type=_identifier(panel.data),
                    dataset_name=printable(panel.title),
                    dataset_config=_identifier(panel.name),
                    dataset_split=panel.split,
                    metric_type=name,
                    metric_name=metric.title if row is entry.row else f"{metric.title} of {printable(row.model)}",
                    metric_value=value,
                    metric_args=None if row is entry.row else {"model": printable(row.model)},
                )


def _identifier(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def sections(rows: Sequence[Measured], data: Sequence[TrainedOn]) -> list[str]:
    """Parts of the card in Markdown: what it was trained on, and how good it is."""
    lines = [
        f"* {escaped(entry.name)}: {entry.labels:,} labels. Licence: {escaped(entry.licence) or 'not known here'}."
        for entry in data
    ]
    trained = "## Training data\n\n" + ("\n".join(lines) or "It has seen no labels of users.")
    if not rows:
        return [trained, "## Results\n\nThis model was pushed without results of a run."]
    return [trained, "## Results\n\n" + "\n\n".join(_result(entry) for entry in rows)]


def _result(entry: Measured) -> str:
    """The tables of a panel with this model, the priors and the references; and where it stands."""
    row, told = entry.row, []
    panel = entry.panel.model_copy(
        update={"rows": (*(other for other in entry.panel.plain_rows if other.kind in BESIDE), row), "comparisons": ()}
    )
    seeds = f" The figures are means over {len(row.seeds)} training seeds; this is one of these models." * (
        len(row.seeds) > 1
    )
    told.append(f"{panel.n:,} samples of {panel.n_users:,} users, split {panel.split}.{seeds}")
    for name, verdict in row.verdicts.items():
        told.append(
            f"{METRICS.find(name).title} minus that of the best prior ({verdict.prior}): "
            f"{fixed(verdict.difference, 3, signed=True)}, 95 % interval {interval(verdict.interval, signed=True)}."
        )
    tables = [table for table in (results_table(panel), ranking_table(panel)) if table is not None]
    return "\n\n".join([*(_markdown(table) for table in tables), " ".join(escaped(text) for text in told)])


def _markdown(table: Table) -> str:
    lines = [[f"{column.heading} {column.minor}".strip() for column in table.columns]]
    lines += [[f"{cell.text} {cell.minor}".strip() for cell in row.cells] for row in table.rows]
    head, *body = ("| " + " | ".join(escaped(text) for text in line) + " |" for line in lines)
    rule = "|" + "|".join("---:" if column.numeric else "---" for column in table.columns) + "|"
    return "\n".join([f"### {escaped(table.caption)}", "", head, rule, *body])
