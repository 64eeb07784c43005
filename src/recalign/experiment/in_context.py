"""In-context learning through an endpoint as a row of a results table: what was answered is measured, the rest counted.

A sample that the model refused has no score, so every other row of such a table is about the answered samples, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recalign.baselines.in_context_config import InContextConfig
from recalign.baselines.in_context_endpoint import EndpointAnswers, ask_endpoint
from recalign.cot.teachers import make_language_model
from recalign.data.samples import Sample, SampleSet, choose_shots
from recalign.data.schema import SPLITS
from recalign.errors import ConfigError, DataError
from recalign.experiment.evaluation import Evaluation, compute_metrics
from recalign.experiment.score_file import ScoreFile, score_split
from recalign.metrics.significance import RESAMPLES
from recalign.scoring.base import Scorer
from recalign.seeding import generator
from recalign.terminal import printable


@dataclass(frozen=True)
class EndpointEvaluation:
    """An endpoint model and what it is compared with, all on the samples that it answered.

    Attributes:
        model: The endpoint's evaluation. Where not every answer came with probabilities of the labels, its score is 1
            for "liked" and -1 for "not", so it has no LogLoss.
        others: Evaluations of the scorers that were given, on the same samples.
        answers: Number asked, exclusions by reason, tokens spent, how many answers came with probabilities.
    """

    model: Evaluation
    others: tuple[Evaluation, ...]
    answers: EndpointAnswers

    @property
    def note(self) -> str:
        """How many were asked, answered and left out, and why; and what their scores are."""
        answers, answered = self.answers, self.model.scores.frame
        agreed = float(((answered["score"] > 0) == (answered["label"] > 0)).mean())  # type: ignore[arg-type]
        return (
            f"{self.model.model}: {answers.asked:,} samples asked, {answered.height:,} answered "
            f"({agreed:.1%} as the user did), {_exclusions(answers)} {_scoring(answers)} "
            f"Every row is about the answered samples alone. {answers.spent.total:,} tokens in the ledger."
        )

    def as_json(self) -> dict[str, Any]:
        """The counts: asked, answered, excluded (reason → samples), tokens, scored_by (probability, answer → samples).

        And logprobs: whether they were requested, with how many answers they came so that they tell the log-odds
        (usable), in how many of these one label was not listed (bounded), and what an endpoint said that refused them.
        """
        answers, answered = self.answers, self.model.scores.frame.height
        by_probability = answered if answers.log_odds else 0
        return {
            "asked": answers.asked,
            "answered": answered,
            "excluded": answers.excluded,
            "tokens": answers.spent.total,
            "scored_by": {"probability": by_probability, "answer": answered - by_probability},
            "logprobs": {
                "requested": answers.requested,
                "usable": answers.probabilities,
                "bounded": answers.bounded,
                "refused": answers.refused or None,
            },
        }


def evaluate_endpoint(
    data: SampleSet,
    split: str,
    config: InContextConfig,
    ledger: Path,
    others: Sequence[Scorer] = (),
    *,
    demonstrations: int = 0,
    seed: int = 0,
    template: str = "",
    name: str = "",
    logprobs: bool = True,
    output: Path | None = None,
    resamples: int = RESAMPLES,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, str], None] = lambda done, total, facts: None,
) -> EndpointEvaluation:
    """Ask an endpoint about a split, and measure its answers beside other scorers.

    Args:
        data: Prepared data; demonstrations are samples of its train split.
        split: "train", "valid" or "test".
        config: The endpoint, its budget, and `limit`: how many samples are asked about, drawn by seed.
        ledger: Where answers are kept; the same call again pays for nothing twice.
        others: What stands beside it, for example priors.
        demonstrations: Answered samples before each question; 0: zero-shot.
        seed: Which demonstrations, which samples under a limit; seeds the resampling; a column of the score file.
        template: Prompt template; the one that the data names by default.
        name: Name in tables; "in-context MODEL m-shot" by default.
        logprobs: Ask for log probabilities, and score by them where all answers have them.
        output: Where to write the score file (Parquet); nowhere by default.
        resamples: Bootstrap replicates behind the intervals.
        announce: See `ask_endpoint`.
        progress: See `ask_endpoint`.

    Raises:
        ConfigError: No such split or template; no key for the endpoint.
        DataError: The split has no samples, the train split too few, or no answer can be used.
        TeacherError: The endpoint cannot be asked at all, or the budget is used up; answers are in the ledger.
        ArtifactError: `output` or the ledger cannot be written.
    """
    samples = _asked(data, split, config.limit, seed)
    shown = choose_shots(data.samples("train"), demonstrations, seed)
    label = name or f"in-context {config.teacher} {demonstrations}-shot"
    asking: dict[str, Any] = {"template": template, "name": label, "seed": seed, "logprobs": logprobs}
    asking |= {"announce": announce, "progress": progress}
    answers = ask_endpoint(samples, data, make_language_model(config.teacher, config), config, ledger, shown, **asking)
    if answers.frame.is_empty():
        raise DataError(
            f"answers of {config.teacher}",
            found=f"none of {answers.asked:,} that can be used: {_exclusions(answers)}",
            expected="answers that begin with one of the two labels",
            hint="Try another --template, or longer answers: --set max_tokens=2048.",
        )
    scores = ScoreFile(answers.frame, log_odds=answers.log_odds, split=split, data=data.fingerprint)
    if output is not None:
        scores.write(output)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    beside = [_on_same_samples(each, scores, data, **options) for each in others]
    measured = compute_metrics(scores, "an endpoint is asked about one split", **options)
    return EndpointEvaluation(Evaluation(scores, measured), tuple(beside), answers)


def _asked(data: SampleSet, split: str, limit: int | None, seed: int) -> list[Sample]:
    """The samples of the split, or `limit` of them drawn by seed, in the order of the data."""
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}", expected=", ".join(SPLITS))
    samples = data.samples(split)
    if not samples:
        raise DataError(f"split {split!r} of the data", found="no samples", hint="Choose another --split.")
    if limit is None or limit >= len(samples):
        return samples
    chosen = generator(seed, "in-context", "limit").permutation(len(samples))[:limit]
    return [samples[index] for index in sorted(chosen)]


def _on_same_samples(scorer: Scorer, scores: ScoreFile, data: SampleSet, *, resamples: int, seed: int) -> Evaluation:
    whole = score_split(scorer, data, scores.split, seed=seed)
    part = replace(whole, frame=whole.frame.join(scores.frame, on="sample_id", how="semi", maintain_order="left"))
    return Evaluation(part, compute_metrics(part, "not all samples were answered", resamples=resamples, seed=seed))


def _scoring(answers: EndpointAnswers) -> str:
    """What the scores are: all of one kind, since log-odds beside signs make no common order."""
    answered, usable = answers.frame.height, answers.probabilities
    if answers.log_odds:
        bounds = f" (in {answers.bounded:,} of them a bound: one label was not listed)" if answers.bounded else ""
        return f"{answered:,} scored by the labels' probabilities{bounds}, 0 by the answer."
    if not answers.requested:
        why = "probabilities were not asked for"
    elif usable:
        why = f"{usable:,} came with usable probabilities, {answered - usable:,} without, and one AUC takes one kind"
    else:
        why = "no answer came with usable probabilities"
    if answers.refused:
        why += f"; the endpoint refused them: {printable(answers.refused)}"
    return f"0 scored by the labels' probabilities, {answered:,} by the answer ({why})."


def _exclusions(answers: EndpointAnswers) -> str:
    if not answers.excluded:
        return "none excluded."
    return "excluded: " + ", ".join(f"{count:,} {reason}" for reason, count in answers.excluded.items()) + "."
