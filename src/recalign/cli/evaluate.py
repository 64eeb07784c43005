"""`recalign evaluate`: a model on prepared data, beside the priors."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from recalign.data.samples import SampleSet
    from recalign.experiment.evaluation import Evaluation
    from recalign.experiment.tables import ResultsTable
    from recalign.scoring.base import Scorer


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Run directory, or prior:like-rate, prior:item-mean, prior:popularity, prior:like-rate+item-mean.",
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
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the model's per-sample scores (Parquet).", show_default=False)
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
    """Score a split of prepared data: AUC, GAUC, LogLoss, ECE, with user-clustered intervals, beside the priors.

    Each read of a test split is logged in the run's manifest.
    """
    from recalign.baselines.priors import PREFIX, prior_name
    from recalign.data.samples import SampleSet
    from recalign.experiment.evaluation import evaluate as run_evaluation
    from recalign.experiment.evaluation import pick_prior, priors_for, validation_labels_seen
    from recalign.experiment.tables import results_table

    wanted = prior_name(model) if model.startswith(PREFIX) else _run_directory(model)
    sample_set = SampleSet.load(data)
    priors = priors_for(sample_set, SampleSet.load(fit) if fit is not None else None)
    run_dir = wanted if isinstance(wanted, Path) else None
    if calibrate is None:
        calibrate = run_dir is None or validation_labels_seen(run_dir, sample_set)
    scorer: Scorer = pick_prior(priors, wanted) if isinstance(wanted, str) else _load(wanted, sample_set, score)
    options: dict[str, Any] = {"seed": seed, "resamples": resamples, "calibrate": calibrate}
    main = run_evaluation(scorer, sample_set, split, output=output, run_dir=run_dir, **options)
    beside = [run_evaluation(each, sample_set, split, **options) for each in priors.scorers if each.name != scorer.name]
    table = results_table([main, *beside], notes=[priors.note], resamples=resamples, seed=seed)
    if json_output:
        sys.stdout.write(json.dumps(_as_json(main, beside, table), allow_nan=False) + "\n")
    else:
        _show(table, main)


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
    from recalign.tuning.model_artifact import load_scorer

    kinds: dict[str, Literal["log-odds", "paper"]] = {"log-odds": "log-odds", "paper": "paper"}
    if score not in kinds:
        raise ConfigError(f"--score {score!r}", expected=" or ".join(kinds))
    return load_scorer(run_dir, sample_set, kind=kinds[score])


def _as_json(main: Evaluation, beside: list[Evaluation], table: ResultsTable) -> dict[str, Any]:
    verdict = table.rows[0].verdict
    against = None
    if verdict is not None:
        against = {
            "prior": verdict.prior,
            "auc_difference": verdict.difference,
            "interval": [verdict.interval.low, verdict.interval.high] if verdict.interval else None,
            "p_value": verdict.p_value,
            "beats": verdict.beats,
        }
    return {
        **main.metrics,
        "data": main.scores.data,
        "priors": {each.model: each.metrics for each in beside},
        "priors_note": table.notes[0],
        "best_prior": against,
    }


def _show(table: ResultsTable, main: Evaluation) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(table.rich())
    temperature, mass = main.metrics["temperature"], main.metrics.get("label_mass")
    lines = table.lines()
    if temperature is not None:
        calibrated = f"LogLoss {main.metrics['logloss_calibrated']:.3f}, ECE {main.metrics['ece_calibrated']:.3f}"
        lines.append(f"{main.model}: with temperature {temperature:.3f} fitted on validation {calibrated}.")
    if mass is not None:
        lines.append(f"{main.model}: probability of the two answers together {mass:.3f} on average.")
    missing: dict[str, list[str]] = {}
    for metric, reason in main.metrics["reasons"].items():
        missing.setdefault(reason, []).append(metric)
    lines += [f"{main.model}: no {', '.join(metrics)}, because {reason}." for reason, metrics in missing.items()]
    for line in lines:
        console.print(Text(line))
