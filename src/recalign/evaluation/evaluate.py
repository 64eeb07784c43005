"""Models on prepared data, beside the priors: the function that `recalign evaluate` and a notebook call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Protocol, runtime_checkable

from recalign.artifacts import read_manifest
from recalign.baselines.factorisation import PREFIX as REFERENCE
from recalign.baselines.factorisation import REFERENCES, Factorisation, reference, reference_name
from recalign.baselines.priors import NEEDS_FIT, PREFIX, prior_name
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, did_you_mean_path, nearest
from recalign.evaluation.document import BESIDE, Panel, Row, RowKind
from recalign.evaluation.panel import build_panel, facts_of
from recalign.evaluation.priors import Fold, PriorSet, prior_rows, priors_for
from recalign.evaluation.ranking import RankingTask, load_task, ranked, score_task
from recalign.evaluation.references import fit_of
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings
from recalign.evaluation.score import log_test_read, score_split
from recalign.evaluation.score_file import ScoreFile
from recalign.evaluation.verdicts import keep_verdicts
from recalign.metrics.significance import RESAMPLES
from recalign.models.config import Precision
from recalign.scoring.base import Scorer, watched

ScoreKind = Literal["log-odds", "paper"]


@runtime_checkable
class Demonstrated(Protocol):
    """A language model that is shown answered samples, untuned by default, and loaded when its turn comes."""

    @property
    def name(self) -> str: ...

    @property
    def tuned(self) -> Path | None:
        """The model artefact, where it is a tuned one: reads of test data are logged there."""

    def scorer(self, data: SampleSet, kind: ScoreKind) -> Scorer: ...


Model = str | Path | Scorer | Demonstrated
TESTS: Final = "intervals and comparisons"  # what progress calls them, which are counted, and no samples
Progress = Callable[[int, int, str], None]
"""Told how many samples (or candidates) are scored, of how many, and facts of it in words."""


def evaluate(
    models: Sequence[Model],
    data: SampleSet,
    split: str = "test",
    *,
    fit: SampleSet | None = None,
    candidates: Path | None = None,
    output: Path | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    calibrate: bool | None = None,
    kind: ScoreKind = "log-odds",
    precision: Precision = "auto",
    device: str = "auto",
    endpoint: str | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    progress_for: Callable[[str], Progress] = lambda name: lambda done, total, facts: None,
) -> Panel:
    """Score models on a split, and measure them beside the priors.

    Each read of a test split is logged in the manifest of the model's directory, and what it says of the model.

    Args:
        models: Directories of tuned models or baselines, names of priors and references (``prior:like-rate``,
            ``reference:mf``), untuned models, or any scorers.
        data: Prepared data.
        split: "train", "valid" or "test".
        fit: Prepared data whose train split the item-based priors may learn from; that of `data` by default.
        candidates: Directory of frozen candidate lists of this data and split, to rank them too.
        output: File for the score file of the model, with that of the candidates beside it
            (``NAME.candidates.parquet``); for several models a directory.
        seed: Seeds the resampling; a column of the score files.
        resamples: Bootstrap resamples of users, at least 1.
        calibrate: Whether temperatures are fitted on validation labels; by default as `score.may_fit` says.
        kind: What tuned models are asked for (`recalign.scoring.yes_no.YesNoScorer`).
        precision: The arithmetic of tuned models; see `recalign.models.precision`. Baselines and priors have none.
        device: Where tuned models and baselines score; see `load_saved`.
        endpoint: Where the only tuned model is served, see `Recommender.load`; by default it is loaded here.
        pairs: Names of models to compare with each other.
        progress_for: The callback for the progress of what has that name: the priors, each model, `TESTS`.

    Returns:
        The panel: the models in the order given, then the other priors.

    Raises:
        ConfigError: There is no such model, split or kind of score, or a model is named twice.
        DataError: The split has no samples, or `fit` no train samples.
        ArtifactError: A model or the candidates are damaged or of other data, or `output` cannot be written.
        ModelError: A model cannot be loaded, or gave scores that are not finite.
    """
    wanted = named_models(models, endpoint)
    task = None if candidates is None else load_task(candidates, data, split)
    told = progress_for("priors")
    priors = priors_for(data, fit, split)
    loadable = {name: _named(model, priors, data, split) for name, model in wanted.items()}
    fit_name = fit.path.name if fit else ""
    beside, learned = prior_rows([Fold(data, fit, task)], split, fit_name=fit_name, seed=seed, calibrate=calibrate)
    told(len(data.frame(split)), len(data.frame(split)), "")
    scoring = _Scoring(data, split, task, output, len(wanted) > 1, seed, calibrate, kind, precision, device, endpoint)
    rows = [scoring.row(name, model, progress_for(name)) for name, model in loadable.items()]
    known = {scored.row.model for scored in rows}
    rows += [scored for scored in beside if scored.row.model not in known]
    facts = facts_of(data, split, data.frame(split), learned)
    fits = tuple(fit_of(model) for model in loadable.values() if isinstance(model, Factorisation))
    facts = facts.model_copy(update={"references": fits})
    if task is not None:
        facts = facts.model_copy(update={"ranked": ranked([task])})
    show = progress_for(TESTS)
    panel = build_panel(
        facts, rows, TestSettings(resamples, seed), pairs, progress=lambda done, total: show(done, total, "")
    )
    keep_verdicts(panel, {name: model for name, model in loadable.items() if isinstance(model, Path)})
    return panel


def named_models(models: Sequence[Model], endpoint: str | None = None) -> dict[str, Model]:
    """What to evaluate by its name in the tables: names of priors and references, directories of models, scorers.

    Two directories of one name would look like two seeds of one model, so both are called by their whole path.

    Raises:
        ConfigError: There is no such prior, reference or directory, or one is named twice; or it is not one tuned model
            that is to be asked at an `endpoint`.
    """
    resolved = [_resolved(model) for model in models]
    if endpoint is not None:
        tuned = [model for model in resolved if isinstance(model, Path) and _saved_kind(model) == "tuned"]
        if len(tuned) != 1:
            raise ConfigError("--endpoint", found=f"{len(tuned)} tuned models", expected="one")
    names = [_name(model) for model in resolved]
    names = [str(model) if names.count(name) > 1 else name for name, model in zip(names, resolved, strict=True)]
    if len(set(names)) < len(names):
        shown = ", ".join(model if isinstance(model, str) else _name(model) for model in models)
        raise ConfigError("models to evaluate", found=f"one of them twice: {shown}", expected="each once")
    return dict(zip(names, resolved, strict=True))


def load_saved(
    directory: str | Path,
    data: SampleSet,
    *,
    kind: ScoreKind = "log-odds",
    precision: Precision = "auto",
    device: str = "auto",
    endpoint: str | None = None,
) -> Scorer:
    """A directory that `recalign tune` or `recalign baseline` wrote, as a scorer of the data's items.

    `kind` is that of `recalign.scoring.yes_no.YesNoScorer`; baselines give log-odds. `precision` is the arithmetic of
    language models (`recalign.models.precision`), and `endpoint` says where one is served (`Recommender.load`); they
    change nothing for a baseline. `device` is "cpu", "cuda", …; by default a language model takes a GPU where there is
    one, and a baseline the CPU.

    Raises:
        ArtifactError: Neither is there, or it is incomplete or altered.
        ConfigError: Another kind of score was asked of a baseline.
        ModelError: The backbone (or text encoder) cannot be loaded, or is another one, or `precision` is not for it.
    """
    directory = Path(directory)
    if _saved_kind(directory) == "tuned":
        from recalign.tuning.model_artifact import load_scorer  # loads torch, as below; priors alone need none

        return load_scorer(directory, data, kind=kind, precision=precision, device=device, endpoint=endpoint)
    if kind != "log-odds":
        raise ConfigError(f"score {kind!r} of {directory}", found="a baseline", expected="a language model")
    from recalign.baselines.artifact import load_baseline

    return load_baseline(directory, data, device="cpu" if device == "auto" else device)


@dataclass(frozen=True)
class _Scoring:
    data: SampleSet
    split: str
    task: RankingTask | None
    output: Path | None
    several: bool
    seed: int
    calibrate: bool | None
    kind: ScoreKind
    precision: Precision
    device: str
    endpoint: str | None

    def row(self, name: str, model: Path | Demonstrated | Scorer, progress: Progress) -> ScoredRow:
        """A model's scores, written to their files."""
        directory = model if isinstance(model, Path) else model.tuned if isinstance(model, Demonstrated) else None
        kind, scorer = self._load(model)
        with watched(scorer, lambda done, total: progress(done, total, "")):
            samples, lists = self._score(name, scorer, directory)
        progress(samples.frame.height, samples.frame.height, "")
        row = Row(model=name, kind=kind, seeds=() if kind in BESIDE else (self.seed,))
        return ScoredRow(row, RowScores.of([[samples]], [lists] if lists else []))

    def _score(self, name: str, scorer: Scorer, directory: Path | None) -> tuple[ScoreFile, list[ScoreFile]]:
        """Scores of the split, and of the candidates where they are ranked too."""
        samples = score_split(
            scorer, self.data, self.split, seed=self.seed, name=name, model=directory, calibrate=self.calibrate
        )
        samples = replace(samples, precision=self.precision)
        path = self._path(name)
        if path is not None:
            samples.write(path)
        if self.task is None:
            return samples, []
        lists = replace(score_task(scorer, self.task, seed=self.seed, name=name), precision=self.precision)
        log_test_read(directory, lists)
        if path is not None:
            lists.write(path.with_name(f"{path.stem}.candidates.parquet"))
        return samples, [lists]

    def _load(self, model: Path | Demonstrated | Scorer) -> tuple[RowKind, Scorer]:
        if isinstance(model, Path):
            loaded = load_saved(
                model, self.data, kind=self.kind, precision=self.precision, device=self.device, endpoint=self.endpoint
            )
            return _saved_kind(model), loaded
        if isinstance(model, Demonstrated):
            return "in-context", model.scorer(self.data, self.kind)
        if isinstance(model, Factorisation):
            return "reference", model
        return ("prior" if model.name.startswith(PREFIX) else "other"), model

    def _path(self, name: str) -> Path | None:
        if self.output is None or not self.several:
            return self.output
        return self.output / f"{name.replace('/', '-')}.parquet"


def _saved_kind(directory: Path) -> Literal["tuned", "baseline"]:
    from recalign.baselines.artifact import KIND as BASELINE

    return "baseline" if read_manifest(directory, verify=False).kind == BASELINE else "tuned"


def _named(
    model: Path | Demonstrated | Scorer | str, priors: PriorSet, data: SampleSet, split: str
) -> Path | Demonstrated | Scorer:
    """The prior or reference of that name; what is no name, as it is."""
    if not isinstance(model, str):
        return model
    return priors.pick(prior_name(model)) if model.startswith(PREFIX) else reference(model, data, split)


def _name(model: Model) -> str:
    return model if isinstance(model, str) else model.name


def _resolved(model: Model) -> Model:
    """The whole name of a prior or reference, the directory of one model, or the scorer itself."""
    if isinstance(model, str):
        if model.startswith(REFERENCE):
            return reference_name(model)
        return PREFIX + prior_name(model) if model.startswith(PREFIX) else _directory(model)
    return _directory(str(model)) if isinstance(model, Path) else model


def _directory(model: str) -> Path:
    """The directory of one model, checked before anything is loaded: `model`, or the only model of a run."""
    path = Path(model)
    if path.is_dir():
        from recalign.tuning.model_artifact import model_directory

        return model_directory(path)
    bare = {name: PREFIX + name for name in NEEDS_FIT} | {name: REFERENCE + name for name in REFERENCES}
    named = bare | {name: name for name in bare.values()}
    near = nearest(model, named)
    hint = f"Did you mean {named[near]}?" if near else "Tune a model with `recalign tune` or `recalign run`."
    raise ConfigError(
        f"model {model!r}",
        found="a file" if path.exists() else "no such directory",
        expected="a run directory, or a prior such as prior:like-rate",
        hint=did_you_mean_path(path) or hint,
    )
