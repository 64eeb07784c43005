"""In-context learning on top of a tuned model; and through an endpoint, as a row of a panel.

What an endpoint answered is measured, the rest counted. A sample that the model refused has no score, so every other
row of such a panel is about the answered samples, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from recalign.baselines.config import InContextConfig
from recalign.baselines.in_context import in_context_scorer
from recalign.baselines.in_context_endpoint import EndpointAnswers, ask_endpoint
from recalign.cot.teachers import make_language_model
from recalign.data.facts import FactFinder
from recalign.data.samples import SampleSet, choose_shots
from recalign.errors import DataError
from recalign.evaluation.document import Answered, Panel, Row
from recalign.evaluation.panel import build_panel, facts_of
from recalign.evaluation.priors import Fold, prior_rows, priors_for
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings
from recalign.evaluation.score import samples_of
from recalign.evaluation.score_file import ScoreFile, Temperature
from recalign.evaluation.sentences import excluded
from recalign.metrics.significance import RESAMPLES
from recalign.models.config import Precision
from recalign.prompting.template import PromptTemplate
from recalign.scoring.prompted import ScoreKind
from recalign.scoring.yes_no import YesNoScorer
from recalign.tuning.model_artifact import load_knowledge, load_model

_NO_TEMPERATURE: Final = Temperature(reason="an endpoint is asked about one split")


def load_demonstrated(
    directory: Path,
    data: SampleSet,
    demonstrations: int,
    seed: int = 0,
    *,
    name: str = "",
    kind: ScoreKind = "log-odds",
    precision: Precision = "auto",
    device: str = "auto",
) -> YesNoScorer:
    """A tuned model as a `Scorer` that is shown answered samples before each question.

    Args:
        directory: The model artefact. Its template words the samples and the question, with the facts that it knows.
        data: Prepared data; the samples are those of its train split that a K-shot run of this seed would be given.
        demonstrations: How many, m.
        seed: Which.
        name: Name in tables; "in-context MODEL m-shot" by default.
        kind, precision, device: See `recalign.tuning.model_artifact.load_scorer`.

    Raises:
        ArtifactError, ModelError: See `recalign.tuning.model_artifact.load_model`.
        DataError: The train split has fewer than m samples, or they do not fit into a prompt.
    """
    shown = choose_shots(data.samples("train"), demonstrations, seed)
    model, backbone, _ = load_model(directory, device=device, precision=precision)
    template = directory / "template.toml"
    stated = PromptTemplate.load(template).states_facts
    return in_context_scorer(
        replace(backbone, model=model),
        data,
        shown,
        template=str(template),
        name=name or f"in-context {directory.name} {demonstrations}-shot",
        kind=kind,
        finder=FactFinder(data.catalog, load_knowledge(directory)) if stated else None,
    )


def evaluate_endpoint(
    data: SampleSet,
    split: str,
    config: InContextConfig,
    ledger: Path,
    *,
    fit: SampleSet | None = None,
    demonstrations: int = 0,
    seed: int = 0,
    template: str = "",
    name: str = "",
    logprobs: bool = True,
    output: Path | None = None,
    resamples: int = RESAMPLES,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, str], None] = lambda done, total, facts: None,
) -> Panel:
    """Ask an endpoint about a split, and measure its answers beside the priors.

    Args:
        data: Prepared data; demonstrations are samples of its train split.
        split: "train", "valid" or "test".
        config: The endpoint, its budget, and `limit`: how many samples are asked about, drawn by seed.
        ledger: Where answers are kept; the same call again pays for nothing twice.
        fit: Prepared data whose train split the item-based priors may learn from; that of `data` by default.
        demonstrations: Answered samples before each question; 0: zero-shot.
        seed: Which demonstrations, which samples under a limit; seeds the resampling; a column of the score file.
        template: Prompt template; the one that the data names by default.
        name: Name in tables; "in-context MODEL m-shot" by default.
        logprobs: Ask for log probabilities, and score by them where all answers have them.
        output: Where to write the score file (Parquet); nowhere by default.
        resamples: Bootstrap resamples of users.
        announce, progress: See `ask_endpoint`.

    Raises:
        ConfigError: No such split or template; no key for the endpoint.
        DataError: The split has no samples, the train split too few, or no answer can be used.
        TeacherError: The endpoint cannot be asked at all, or the budget is used up; answers are in the ledger.
        ArtifactError: `output` or the ledger cannot be written.
    """
    samples = samples_of(data.limited(split, config.limit, seed), split)
    priors_for(data, fit, split)  # what is wrong with `fit` is told before anything is paid
    shown = choose_shots(data.samples("train"), demonstrations, seed)
    label = name or f"in-context {config.teacher} {demonstrations}-shot"
    answers = ask_endpoint(
        samples, data, make_language_model(config.teacher, config), config, ledger, shown,
        template=template, name=label, seed=seed, logprobs=logprobs, announce=announce, progress=progress,
    )  # fmt: skip
    if answers.frame.is_empty():
        raise DataError(
            f"answers of {config.teacher}",
            found=f"none of {answers.asked:,} that can be used: {excluded(answers.excluded)}",
            expected="answers that begin with one of the two labels",
            hint="Try another --template, or longer answers: --set max_tokens=2048.",
        )
    scores = ScoreFile(answers.frame, answers.log_odds, split, data.fingerprint, temperature=_NO_TEMPERATURE)
    if output is not None:
        scores.write(output)
    rows = [ScoredRow(Row(model=label, kind="in-context", seeds=(seed,)), RowScores.of([[scores]]))]
    beside, learned = prior_rows([Fold(data, fit)], split, fit_name=fit.path.name if fit else "", seed=seed)
    rows += [ScoredRow(scored.row, _answered_only(scored.scores, scores.frame)) for scored in beside]
    facts = facts_of(data, split, scores.frame, learned).model_copy(update={"answered": _counts(answers)})
    return build_panel(facts, rows, TestSettings(resamples, seed))


def _answered_only(scores: RowScores, answered: pl.DataFrame) -> RowScores:
    """The scores of the answered samples."""
    parts = [frame.join(answered, on="sample_id", how="semi", maintain_order="left") for frame in scores.samples]
    return replace(scores, samples=tuple(parts))


def _counts(answers: EndpointAnswers) -> Answered:
    frame = answers.frame
    return Answered(
        asked=answers.asked,
        right=int(((frame["score"] > 0) == (frame["label"] > 0)).sum()),
        excluded=answers.excluded,
        tokens=answers.spent.total,
        by_probability=frame.height if answers.log_odds else 0,
        requested=answers.requested,
        usable=answers.probabilities,
        bounded=answers.bounded,
        refused=answers.refused,
    )
