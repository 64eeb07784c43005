"""`recalign evaluate`: a model on prepared data, beside the priors."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from recalign.baselines.priors import Prior
    from recalign.data.samples import SampleSet
    from recalign.experiment.evaluation import Evaluation
    from recalign.experiment.ranking import RankingEvaluation, RankingTask
    from recalign.experiment.ranking_tables import RankingTable
    from recalign.experiment.tables import ResultsTable, Row
    from recalign.scoring.base import Scorer


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Directories of models or baselines, or prior:like-rate, prior:item-mean, prior:popularity, "
            "prior:like-rate+item-mean.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Prepared data to score.", show_default=False)],
    split: Annotated[str, typer.Option("--split", help="train, valid or test.")] = "test",
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit",
            help="Prepared data whose train split the item-based priors may learn from, e.g. the source domain; "
            "the train split of --data if not given.",
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            help="Rank these lists too (from `recalign candidates`): NDCG@10, Recall@10, MRR.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Write the model's per-sample scores (Parquet), and with --candidates its per-candidate scores beside "
            "them (FILE.candidates.parquet); for several models a directory.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the resampling, recorded in the score file.")] = 0,
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Bootstrap resamples of users.")] = 2000,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Fit a temperature on validation labels. By default for priors and for models that were selected on "
            "them, but not for zero-shot and strict-k models.",
            show_default=False,
        ),
    ] = None,
    score: Annotated[
        str, typer.Option("--score", help="log-odds, or paper: p(Yes) - p(No), the reference code's order.")
    ] = "log-odds",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a split of prepared data: AUC, GAUC, NDCG@10, LogLoss, ECE, with user-clustered intervals.

    The priors stand beside every model. With --candidates also ranking, where a random ranker joins them. Each read of
    a test split is logged in the run's manifest.
    """
    from recalign.data.samples import SampleSet
    from recalign.experiment.evaluation import evaluate as run_evaluation
    from recalign.experiment.evaluation import pick_prior, priors_for, validation_labels_seen
    from recalign.experiment.tables import results_table

    wanted = _wanted(models)
    sample_set = SampleSet.load(data)
    task = _task(candidates, sample_set, split)
    priors = priors_for(sample_set, SampleSet.load(fit) if fit is not None else None)
    options: dict[str, Any] = {"seed": seed, "resamples": resamples}
    evaluations, ranked, uses = [], [], []
    for name, each in wanted.items():
        run_dir = each if isinstance(each, Path) else None
        uses.append(calibrate if calibrate is not None else not run_dir or validation_labels_seen(run_dir, sample_set))
        scorer: Scorer = _load(each, sample_set, score) if isinstance(each, Path) else pick_prior(priors, each)
        paths = _paths(output, name or scorer.name, several=len(wanted) > 1)
        named: dict[str, Any] = {"name": name, "run_dir": run_dir, "output": paths[0], "calibrate": uses[-1]}
        evaluations.append(run_evaluation(scorer, sample_set, split, **named, **options))
        if task is not None:
            ranked.append(_rank(scorer, task, name, run_dir, paths[1], **options))
    rest = [each for each in priors.scorers if each.name not in {one.model for one in evaluations}]
    beside = [run_evaluation(each, sample_set, split, calibrate=all(uses), **options) for each in rest]
    table = results_table([*evaluations, *beside], notes=[priors.note], resamples=resamples, seed=seed)
    ranking = None if task is None else _ranking_table(task, ranked, rest, priors.note, **options)
    if json_output:
        document = _as_json(evaluations, beside, table)
        if ranking is not None:
            document["ranking"] = ranking.as_json()
        sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
    else:
        _show(table, evaluations, ranking)


def _wanted(models: list[str]) -> dict[str, str | Path]:
    """What to evaluate, by its name in the tables: bare names of priors, directories of models.

    Two runs of one name would count as the seeds of one model, so such ones are called by their path.

    Raises:
        ConfigError: There is no such prior or directory, or one is named twice.
    """
    from recalign.baselines.priors import PREFIX, prior_name
    from recalign.errors import ConfigError

    found = [prior_name(model) if model.startswith(PREFIX) else _run_directory(model) for model in models]
    names = [PREFIX + each if isinstance(each, str) else each.name for each in found]
    names = [str(each) if names.count(name) > 1 else name for name, each in zip(names, found, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError("models to evaluate", found=f"one of them twice: {', '.join(models)}", expected="each once")
    return dict(zip(names, found, strict=True))


def _paths(output: Path | None, name: str, *, several: bool) -> tuple[Path | None, Path | None]:
    """Files of the per-sample and the per-candidate scores."""
    if output is None:
        return None, None
    path = output / f"{name.replace('/', '-')}.parquet" if several else output
    return path, path.with_name(f"{path.stem}.candidates.parquet")


def _task(candidates: Path | None, sample_set: SampleSet, split: str) -> RankingTask | None:
    from recalign.errors import ConfigError
    from recalign.experiment.ranking import load_task

    if candidates is None:
        return None
    task = load_task(candidates, sample_set)
    if task.split != split:
        raise ConfigError(
            f"--candidates {candidates}",
            found=f"lists of split {task.split}",
            expected=f"split {split}",
            hint=f"Pass --split {task.split}, or draw them: recalign candidates {sample_set.path} --split {split}",
        )
    return task


def _rank(
    scorer: Scorer, task: RankingTask, name: str, run_dir: Path | None, output: Path | None, **options: int
) -> RankingEvaluation:
    from recalign.experiment.evaluation import log_test_read
    from recalign.experiment.ranking import measure, score_task

    scores = score_task(scorer, task, seed=options["seed"], name=name)
    if run_dir is not None:
        log_test_read(run_dir, scores)  # before anyone can see a result
    if output is not None:
        scores.write(output)
    return measure(scores, **options)


def _ranking_table(
    task: RankingTask, evaluations: list[RankingEvaluation], priors: list[Prior], note: str, **options: int
) -> RankingTable:
    from recalign.experiment.ranking import rivals
    from recalign.experiment.ranking_tables import ranking_table

    return ranking_table([*evaluations, *rivals(task, priors, **options)], notes=[note], **options)


def _run_directory(model: str) -> Path:
    """The directory of one model, checked before anything is loaded: `model`, or the only model of a recipe's run."""
    from recalign.baselines.priors import NEEDS_FIT, PREFIX
    from recalign.errors import ConfigError

    path = Path(model)
    if path.is_dir():
        from recalign.tuning.model_artifact import model_directory

        return model_directory(path)
    near = difflib.get_close_matches(model, [*NEEDS_FIT, *(PREFIX + name for name in NEEDS_FIT)], n=1)
    name = f"{PREFIX}{near[0].removeprefix(PREFIX)}" if near else ""
    raise ConfigError(
        f"model {model!r}",
        found="a file" if path.exists() else "no such directory",
        expected="a run directory, or a prior such as prior:like-rate",
        hint=f"Did you mean {name}?" if name else "Tune a model with `recalign tune` or `recalign run`.",
    )


def _load(run_dir: Path, sample_set: SampleSet, score: str) -> Scorer:
    from recalign.errors import ConfigError
    from recalign.experiment.saved import load_saved

    kinds: dict[str, Literal["log-odds", "paper"]] = {"log-odds": "log-odds", "paper": "paper"}
    if score not in kinds:
        raise ConfigError(f"--score {score!r}", expected=" or ".join(kinds))
    return load_saved(run_dir, sample_set, kind=kinds[score])


def _as_json(evaluations: list[Evaluation], beside: list[Evaluation], table: ResultsTable) -> dict[str, Any]:
    """One model: its metrics at the top; several: a list ``models`` of the same."""
    each = [
        {**evaluation.metrics, "data": evaluation.scores.data, "best_prior": _verdict(row)}
        for evaluation, row in zip(evaluations, table.rows, strict=False)  # priors follow
    ]
    top: dict[str, Any] = each[0] if len(each) == 1 else {"models": each}
    return {**top, "priors": {prior.model: prior.metrics for prior in beside}, "priors_note": table.notes[0]}


def _verdict(row: Row) -> dict[str, Any] | None:
    verdict = row.verdict
    if verdict is None:
        return None
    return {
        "prior": verdict.prior,
        "auc_difference": verdict.difference,
        "interval": [verdict.interval.low, verdict.interval.high] if verdict.interval else None,
        "p_value": verdict.p_value,
        "beats": verdict.beats,
    }


def _show(table: ResultsTable, evaluations: list[Evaluation], ranking: RankingTable | None) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(table.rich())
    lines = table.lines()
    for each in evaluations:
        lines += _remarks(each)
    for line in lines:
        console.print(Text(line))
    if ranking is not None:
        console.print()
        console.print(ranking.rich())
        for line in ranking.lines():
            console.print(Text(line))


def _remarks(main: Evaluation) -> list[str]:
    """What the table has no column for: calibration, answer mass, and why a figure is missing."""
    from recalign.terminal import printable

    lines = []
    name = printable(main.model)
    temperature, mass = main.metrics["temperature"], main.metrics.get("label_mass")
    if temperature is not None:
        calibrated = f"LogLoss {main.metrics['logloss_calibrated']:.3f}, ECE {main.metrics['ece_calibrated']:.3f}"
        lines.append(f"{name}: with temperature {temperature:.3f} fitted on validation {calibrated}.")
    if mass is not None:
        lines.append(f"{name}: probability of the two answers together {mass:.3f} on average.")
    missing: dict[str, list[str]] = {}
    for metric, reason in main.metrics["reasons"].items():
        missing.setdefault(reason, []).append(metric)
    return lines + [f"{name}: no {', '.join(metrics)}, because {reason}." for reason, metrics in missing.items()]
