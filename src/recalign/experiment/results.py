"""Evaluations of a whole recipe: every model and every prior on the same samples, score files kept, tables written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from recalign.artifacts import fingerprint, read_manifest, write_file_atomic
from recalign.data.samples import SampleSet
from recalign.experiment.config import EvaluationEntry, Recipe
from recalign.experiment.evaluation import Evaluation, compare, compute_metrics, evaluate, log_test_read, priors_for
from recalign.experiment.runner import Reporter, Run, Silent
from recalign.experiment.score_file import ScoreFile, score_split
from recalign.experiment.tables import ResultsTable, results_table
from recalign.tuning.model_artifact import KIND, load_scorer


@dataclass(frozen=True)
class RecipeResults:
    """Tables of a recipe, one per evaluation entry, with the paired differences against every prior."""

    titles: tuple[str, ...]
    results: tuple[ResultsTable, ...]

    def tables(self) -> list[Table]:
        """Tables for the terminal."""
        tables = []
        for title, result in zip(self.titles, self.results, strict=True):
            table = result.rich()
            table.title = title
            tables.append(table)
        return tables

    def markdown(self) -> str:
        """All tables as Markdown."""
        parts = [f"## {title}\n\n{result.markdown()}" for title, result in zip(self.titles, self.results, strict=True)]
        return "\n".join(parts)


def evaluate_recipe(recipe: Recipe, run: Run, output: Path, *, reporter: Reporter | None = None) -> RecipeResults:
    """Score all models of a tuned recipe and write ``scores/``, ``results.json`` and ``results.md``.

    A score file that was made from the same model and the same data is read back, so that a test set is read once per
    frozen model however often the command is given.

    Raises:
        RecalignError: See `load_scorer` and `score_split`.
    """
    reporter = reporter or Silent()
    titles, tables, content = [], [], []
    for entry in recipe.evaluations:
        evaluations, note = _evaluate_entry(recipe, run, entry, output, reporter)
        differences = _against_every_prior(evaluations, entry)
        notes = [note, *(_sentence(row) for row in differences)]
        title = f"{entry.data}, {entry.split}"
        table = results_table(evaluations, notes=notes, resamples=entry.resamples)
        titles.append(title)
        tables.append(table)
        metrics = [each.metrics for each in evaluations]
        content.append({"title": title, "metrics": metrics, "against_priors": differences})
    results = RecipeResults(tuple(titles), tuple(tables))
    document = {"recipe": recipe.name, "evaluations": content}
    write_file_atomic(output / "results.json", json.dumps(document, indent=1).encode())
    write_file_atomic(output / "results.md", f"# {recipe.name}\n\n{results.markdown()}".encode())
    return results


def _evaluate_entry(
    recipe: Recipe, run: Run, entry: EvaluationEntry, output: Path, reporter: Reporter
) -> tuple[list[Evaluation], str]:
    data = run.data[entry.data]
    priors = priors_for(data, run.data[entry.fit] if entry.fit else None)
    evaluations = [
        evaluate(scorer, data, entry.split, resamples=entry.resamples, calibrate=False) for scorer in priors.scorers
    ]
    for stage in recipe.stages:
        if entry.stages and stage.name not in entry.stages:
            continue
        for name, config in stage.expand():
            label = stage.name + (f" {config.shots}-shot" if stage.shots_grid else "")
            label += f" {config.selection}" if stage.selections else ""
            reporter.note(f"scoring {name} on {entry.data}, {entry.split}")
            scores = _scored(run.models[name], data, entry.split, label, config.seed, output / "scores")
            evaluations.append(Evaluation(scores, compute_metrics(scores, resamples=entry.resamples)))
    note = priors.note.replace("--fit", f"data set {entry.fit}") if entry.fit else priors.note
    return evaluations, note


def _scored(model: Path, data: SampleSet, split: str, label: str, seed: int, directory: Path) -> ScoreFile:
    """The score file of a model on a split: read back where it was made from both, else computed and logged."""
    owner = fingerprint([read_manifest(model, kind=KIND, verify=False).fingerprint, data.fingerprint, split, label])
    path = directory / f"{model.name}-{data.path.name}-{split}-{owner[:12]}.parquet"
    if path.exists():
        return ScoreFile.read(path)
    directory.mkdir(parents=True, exist_ok=True)
    scores = score_split(load_scorer(model, data), data, split, seed=seed, name=label)
    log_test_read(model, scores)
    scores.write(path)
    return scores


def _against_every_prior(evaluations: Sequence[Evaluation], entry: EvaluationEntry) -> list[dict[str, Any]]:
    """AUC of each model minus that of each prior, with its paired interval; seeds of one model count as their mean."""
    groups: dict[str, list[Evaluation]] = {}
    for each in evaluations:
        groups.setdefault(each.model, []).append(each)
    rows = []
    for model, group in groups.items():
        for prior, other in groups.items():
            if model.startswith("prior:") or not prior.startswith("prior:"):
                continue
            difference = compare(group, other, resamples=entry.resamples)["auc"]
            if difference is None:
                continue
            interval = difference.interval
            rows.append(
                {
                    "model": model,
                    "prior": prior,
                    "difference": difference.difference,
                    "interval": [interval.low, interval.high] if interval else None,
                    "p_value": difference.p_value,
                }
            )
    return rows


def _sentence(row: dict[str, Any]) -> str:
    interval = row["interval"]
    span = f"[{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else "no interval"
    return f"{row['model']} − {row['prior']}: AUC {row['difference']:+.4f}, 95% paired {span}"
