"""Evaluations of a whole recipe: every model and every prior on the same samples, score files kept, tables written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.table import Table

from recalign.artifacts import fingerprint, read_manifest, write_file_atomic
from recalign.data.negatives import RankingConfig
from recalign.data.samples import SampleSet
from recalign.experiment.evaluation import Evaluation, compare, compute_metrics, evaluate, log_test_read, priors_for
from recalign.experiment.ranking import RankingTask, freeze, measure, rivals, score_task
from recalign.experiment.ranking_tables import RankingTable, ranking_table
from recalign.experiment.recipe import EvaluationEntry, Recipe
from recalign.experiment.runner import Reporter, Run, Silent
from recalign.experiment.score_file import ScoreFile, score_split
from recalign.experiment.tables import ResultsTable, results_table
from recalign.scoring.base import Scorer
from recalign.tuning.model_artifact import KIND, load_scorer


@dataclass(frozen=True)
class RecipeResults:
    """Tables of a recipe, one per evaluation entry, with the paired differences against every prior.

    `rankings` holds the ranking table of each entry that asks for candidates, None for the others.
    """

    titles: tuple[str, ...]
    results: tuple[ResultsTable, ...]
    rankings: tuple[RankingTable | None, ...]

    def tables(self) -> list[Table]:
        """Tables for the terminal."""
        tables = []
        for title, result, ranking in zip(self.titles, self.results, self.rankings, strict=True):
            shown = [(title, result.rich())]
            shown += [(f"{title}: ranking", ranking.rich())] if ranking is not None else []
            for name, table in shown:
                table.title = name
                tables.append(table)
        return tables

    def markdown(self) -> str:
        """All tables as Markdown."""
        parts = []
        for title, result, ranking in zip(self.titles, self.results, self.rankings, strict=True):
            parts.append(f"## {title}\n\n{result.markdown()}")
            if ranking is not None:
                parts.append(f"### {title}: ranking\n\n{ranking.markdown()}")
        return "\n".join(parts)


def evaluate_recipe(recipe: Recipe, run: Run, output: Path, *, reporter: Reporter | None = None) -> RecipeResults:
    """Score all models of a tuned recipe and write ``scores/``, ``results.json`` and ``results.md``.

    A score file that was made from the same model and the same data is read back, so that a test set is read once per
    frozen model however often the command is given.

    Raises:
        RecalignError: See `load_scorer` and `score_split`.
    """
    reporter = reporter or Silent()
    titles, tables, rankings = [], [], []
    content: list[dict[str, Any]] = []
    for entry in recipe.evaluations:
        evaluations, ranking, note = _evaluate_entry(recipe, run, entry, output, reporter)
        differences = _against_every_prior(evaluations, entry)
        notes = [note, *(_sentence(row) for row in differences)]
        titles.append(f"{entry.data}, {entry.split}")
        tables.append(results_table(evaluations, notes=notes, resamples=entry.resamples))
        rankings.append(ranking)
        metrics = [each.metrics for each in evaluations]
        content.append({"title": titles[-1], "metrics": metrics, "against_priors": differences})
        if ranking is not None:
            content[-1]["ranking"] = ranking.as_json()
    results = RecipeResults(tuple(titles), tuple(tables), tuple(rankings))
    document = {"recipe": recipe.name, "evaluations": content}
    write_file_atomic(output / "results.json", json.dumps(document, indent=1).encode())
    write_file_atomic(output / "results.md", f"# {recipe.name}\n\n{results.markdown()}".encode())
    return results


def _evaluate_entry(
    recipe: Recipe, run: Run, entry: EvaluationEntry, output: Path, reporter: Reporter
) -> tuple[list[Evaluation], RankingTable | None, str]:
    data = run.data[entry.data]
    priors = priors_for(data, run.data[entry.fit] if entry.fit else None)
    note = priors.note.replace("--fit", f"data set {entry.fit}") if entry.fit else priors.note
    task = _task(entry, data, output / "candidates")
    evaluations = [
        evaluate(scorer, data, entry.split, resamples=entry.resamples, calibrate=False) for scorer in priors.scorers
    ]
    ranked = [] if task is None else rivals(task, priors.scorers, resamples=entry.resamples)
    for stage in recipe.stages:
        if entry.stages and stage.name not in entry.stages:
            continue
        for name, config in stage.expand():
            label = stage.name + (f" {config.shots}-shot" if stage.shots_grid else "")
            label += f" {config.selection}" if stage.selections else ""
            reporter.note(f"scoring {name} on {entry.data}, {entry.split}")
            model = _Model(run.models[name], data, label, config.seed)
            scores = model.scores(entry.split, output / "scores")
            evaluations.append(Evaluation(scores, compute_metrics(scores, resamples=entry.resamples)))
            if task is not None:
                ranked.append(measure(model.ranking_scores(task, output / "scores"), resamples=entry.resamples))
    ranking = ranking_table(ranked, notes=[note], resamples=entry.resamples) if ranked else None
    return evaluations, ranking, note


def _task(entry: EvaluationEntry, data: SampleSet, directory: Path) -> RankingTask | None:
    """The frozen candidates of an entry that asks for some; they are drawn once per data set, split and number."""
    if not entry.candidates:
        return None
    config = RankingConfig(negatives=entry.candidates, split=entry.split)
    target = directory / f"{entry.data}-{entry.split}-{entry.candidates}"
    return freeze(data, config, target)


@dataclass
class _Model:
    """A tuned model on one data set; loaded when the first score is not there yet."""

    directory: Path
    data: SampleSet
    label: str
    seed: int

    @cached_property
    def scorer(self) -> Scorer:
        return load_scorer(self.directory, self.data)

    def scores(self, split: str, folder: Path) -> ScoreFile:
        """Per-sample scores of a split."""

        def compute() -> ScoreFile:
            return score_split(self.scorer, self.data, split, seed=self.seed, name=self.label)

        return self._once(compute, folder, split)

    def ranking_scores(self, task: RankingTask, folder: Path) -> ScoreFile:
        """Per-candidate scores."""

        def compute() -> ScoreFile:
            return score_task(self.scorer, task, seed=self.seed, name=self.label)

        return self._once(compute, folder, task.split, task.fingerprint)

    def _once(self, compute: Callable[[], ScoreFile], folder: Path, split: str, *candidates: str) -> ScoreFile:
        """Read back what was made from the same model and data, else compute it and log the read of a test split."""
        model = read_manifest(self.directory, kind=KIND, verify=False).fingerprint
        owner = fingerprint([model, self.data.fingerprint, split, self.label, *candidates])
        kind = "-candidates" if candidates else ""
        path = folder / f"{self.directory.name}-{self.data.path.name}-{split}{kind}-{owner[:12]}.parquet"
        if path.exists():
            return ScoreFile.read(path)
        folder.mkdir(parents=True, exist_ok=True)
        scores = compute()
        log_test_read(self.directory, scores)
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
