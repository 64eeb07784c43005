"""`recalign evaluate`: a model on prepared data, beside the priors."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recalign.cli import client_options, in_context
from recalign.cli.evaluation_output import as_json, show

if TYPE_CHECKING:
    from recalign.baselines.priors import Prior
    from recalign.cli.in_context import InContext
    from recalign.data.samples import SampleSet
    from recalign.experiment.evaluation import Evaluation
    from recalign.experiment.ranking import RankingEvaluation, RankingTask
    from recalign.experiment.ranking_tables import RankingTable
    from recalign.scoring.base import Scorer


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Directories of models or baselines, or prior:like-rate, prior:item-mean, prior:popularity, "
            "prior:like-rate+item-mean, or in-context: an untuned language model.",
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
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of resampling and demonstrations, recorded in the score file.")
    ] = 0,
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
    backbone: in_context.Backbone = None,
    demonstrations: in_context.Demonstrations = None,
    template: in_context.Template = None,
    teacher: client_options.Teacher = None,
    base_url: client_options.BaseUrl = None,
    key_env: client_options.KeyEnv = None,
    ledger: client_options.LedgerFile = None,
    limit: client_options.Limit = None,
    no_logprobs: in_context.NoLogprobs = None,
    max_tokens_total: client_options.TotalTokens = None,
    max_cost: client_options.MaxCost = None,
    price_in: client_options.PriceIn = None,
    price_out: client_options.PriceOut = None,
    settings: client_options.Settings = None,
) -> None:
    """Score a split of prepared data: AUC, GAUC, NDCG@10, LogLoss, ECE, with user-clustered intervals.

    The priors stand beside every model. With --candidates also ranking, where a random ranker joins them. Each read of
    a test split is logged in the run's manifest.
    """
    given = {key: value for key, value in locals().items() if key in in_context.OPTIONS}
    from recalign.data.samples import SampleSet
    from recalign.experiment.evaluation import evaluate as run_evaluation
    from recalign.experiment.evaluation import pick_prior, priors_for

    asked = in_context.read(models, **given)
    wanted = _wanted(models, asked)
    sample_set = SampleSet.load(data)
    task = _task(candidates, sample_set, split)
    priors = priors_for(sample_set, SampleSet.load(fit) if fit is not None else None)
    options: dict[str, Any] = {"seed": seed, "resamples": resamples}
    facts = asked.as_json() if asked is not None else {}
    if asked is not None and asked.teacher is not None:
        answered = asked.ask(sample_set, split, priors.scorers, output, resamples)
        notes = [priors.note, answered.note]
        facts |= answered.as_json()
        _print([answered.model], [*answered.others], None, notes, facts, json_output=json_output, **options)
        return
    evaluations, ranked, uses = [], [], []
    for name, each in wanted.items():
        run_dir = each if isinstance(each, Path) else None
        uses.append(calibrate if calibrate is not None else _may_calibrate(each, sample_set))
        scorer = pick_prior(priors, each) if isinstance(each, str) else _load(each, sample_set, score)
        paths = _paths(output, name or scorer.name, several=len(wanted) > 1)
        named: dict[str, Any] = {"name": name, "run_dir": run_dir, "output": paths[0], "calibrate": uses[-1]}
        evaluations.append(run_evaluation(scorer, sample_set, split, **named, **options))
        if task is not None:
            ranked.append(_rank(scorer, task, name, run_dir, paths[1], **options))
    rest = [each for each in priors.scorers if each.name not in {one.model for one in evaluations}]
    beside = [run_evaluation(each, sample_set, split, calibrate=all(uses), **options) for each in rest]
    ranking = None if task is None else _ranking_table(task, ranked, rest, priors.note, **options)
    _print(evaluations, beside, ranking, [priors.note], facts, json_output=json_output, **options)


def _print(
    evaluations: list[Evaluation],
    beside: list[Evaluation],
    ranking: RankingTable | None,
    notes: list[str],
    facts: dict[str, Any],
    *,
    json_output: bool,
    **options: int,
) -> None:
    """Show models and, `beside` them, priors. `facts`: what in-context learning adds to the JSON object."""
    from recalign.experiment.tables import results_table

    table = results_table([*evaluations, *beside], notes=notes, **options)
    if not json_output:
        show(table, evaluations, ranking)
        return
    document = as_json(evaluations, beside, table)
    if ranking is not None:
        document["ranking"] = ranking.as_json()
    if facts:
        document["in_context"] = facts
    sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")


def _wanted(models: list[str], asked: InContext | None) -> dict[str, str | Path | InContext]:
    """What to evaluate, by its name in the tables: bare names of priors, directories of models, `asked` for in-context.

    Two runs of one name would count as the seeds of one model, so such ones are called by their path.

    Raises:
        ConfigError: There is no such prior or directory, or one is named twice.
    """
    from recalign.baselines.priors import PREFIX, prior_name
    from recalign.errors import ConfigError

    found: list[str | Path | InContext] = []
    for model in models:
        if asked is not None and model == in_context.NAME:
            found.append(asked)
        else:
            found.append(prior_name(model) if model.startswith(PREFIX) else _run_directory(model))
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


def _may_calibrate(model: str | Path | InContext, sample_set: SampleSet) -> bool:
    """Whether a temperature may be fitted on validation labels: priors, and models that were selected on them."""
    from recalign.experiment.evaluation import validation_labels_seen

    return validation_labels_seen(model, sample_set) if isinstance(model, Path) else isinstance(model, str)


def _load(model: Path | InContext, sample_set: SampleSet, score: str) -> Scorer:
    from recalign.errors import ConfigError
    from recalign.experiment.saved import load_saved

    kinds: dict[str, Literal["log-odds", "paper"]] = {"log-odds": "log-odds", "paper": "paper"}
    if score not in kinds:
        raise ConfigError(f"--score {score!r}", expected=" or ".join(kinds))
    return (
        load_saved(model, sample_set, kind=kinds[score])
        if isinstance(model, Path)
        else model.scorer(sample_set, kinds[score])
    )
