"""Results tables: one row per model, priors included, and whether a model beats them.

Evaluations of the same model name are taken as its training seeds: the row shows their mean, and sd where there are
several. A model beats the priors if the paired, user-clustered interval of its AUC minus that of the best prior (the
one with the highest AUC on these very samples) lies above zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from recalign.baselines.priors import PREFIX
from recalign.errors import DataError
from recalign.experiment.evaluation import Evaluation, compare
from recalign.metrics.significance import RESAMPLES, Interval, MeanSd, bootstrap_ci, holm, mean_sd
from recalign.terminal import printable

HEADER: Final = ("Model", "AUC", "95% CI", "GAUC", "NDCG@10", "LogLoss", "ECE", "Beats priors?")
UNDEFINED: Final = "–"


@dataclass(frozen=True)
class Verdict:
    """A model against the best prior.

    Attributes:
        prior: Name of the best prior.
        difference: AUC of the model minus AUC of the prior.
        interval: Paired interval of the difference; None where it is undefined.
        p_value: Two-sided, Holm-adjusted for the number of models in the table; None as `interval`.
        beats: Whether the interval lies above zero.
    """

    prior: str
    difference: float
    interval: Interval | None
    p_value: float | None
    beats: bool


@dataclass(frozen=True)
class Row:
    """One model. A metric is None where it is undefined (see ``reasons`` of its evaluations)."""

    model: str
    seeds: int
    auc: MeanSd | None
    auc_interval: Interval | None
    gauc: MeanSd | None
    gauc_users: int
    labelled_ndcg: MeanSd | None
    logloss: MeanSd | None
    ece: MeanSd | None
    verdict: Verdict | None

    @property
    def is_prior(self) -> bool:
        """Whether the model is a prior, which has no verdict."""
        return self.model.startswith(PREFIX)


@dataclass(frozen=True)
class ResultsTable:
    """Rows and what they are about.

    Attributes:
        rows: In the order in which the models were given.
        caption: Split, counts and the share of positive labels.
        notes: Further lines below the table.
    """

    rows: tuple[Row, ...]
    caption: str
    notes: tuple[str, ...] = ()

    def rich(self) -> Table:
        """A table that fits into 80 columns (long model names are folded)."""
        caption = Text(printable(self.caption))
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=0,
            caption=caption,
            caption_justify="left",
        )
        table.add_column(HEADER[0], overflow="fold")
        for name in HEADER[1:-1]:
            table.add_column(name.replace("@", "\n@"), justify="right", no_wrap=True)
        table.add_column("Beats\npriors?", no_wrap=True)
        for row in self.rows:
            model, *cells = _cells(row, "\n")  # sd below the mean: names need the width
            table.add_row(Text(printable(model)), *cells, style="dim" if row.is_prior else None)
        return table

    def markdown(self) -> str:
        """The same as a Markdown table, with caption and `lines` below."""
        lines = ["| " + " | ".join(HEADER) + " |", "|---|" + "---:|" * (len(HEADER) - 2) + "---|"]
        for row in self.rows:
            model, *cells = _cells(row, " ")
            lines.append("| " + " | ".join([printable(model).replace("|", r"\|"), *cells]) + " |")
        return "\n".join([*lines, "", *(f"* {line}" for line in (self.caption, *self.lines()))]) + "\n"

    def lines(self) -> list[str]:
        """What belongs below the table: verdicts in words, then notes."""
        return [*self.verdicts(), *self.notes]

    def verdicts(self) -> list[str]:
        """One sentence per model that was compared with a prior."""
        return [
            f"{printable(row.model)}: AUC {row.verdict.difference:+.4f} against {row.verdict.prior}"
            + (
                f", interval {span(row.verdict.interval, '+.4f')}, p {p_value(row.verdict.p_value)} (Holm)."
                if row.verdict.interval is not None
                else ", no interval."
            )
            for row in self.rows
            if row.verdict is not None
        ]


def results_table(
    evaluations: Sequence[Evaluation], *, notes: Sequence[str] = (), resamples: int = RESAMPLES, seed: int = 0
) -> ResultsTable:
    """Build the table of evaluations on the same samples.

    Args:
        evaluations: Of models and priors; those of one name are the seeds of one model.
        notes: Lines to print below, e.g. what the priors learned from.
        resamples: Bootstrap replicates of the comparisons.
        seed: Seeds the resampling.

    Raises:
        DataError: There is none, or they are not of the same samples.
    """
    if not evaluations:
        raise DataError("results table", found="no evaluations", expected="at least one")
    groups: dict[str, list[Evaluation]] = {}
    for each in evaluations:
        groups.setdefault(each.model, []).append(each)
    best = _best_prior(groups)
    verdicts = {} if best is None else _verdicts(groups, best, resamples, seed)
    rows = tuple(_row(model, group, verdicts.get(model), resamples, seed) for model, group in groups.items())
    return ResultsTable(rows, _caption(evaluations[0].metrics), tuple(notes))


def _best_prior(groups: dict[str, list[Evaluation]]) -> str | None:
    found = {
        name: group[0].metrics["auc"]
        for name, group in groups.items()
        if name.startswith(PREFIX) and group[0].metrics["auc"] is not None
    }
    return max(found, key=lambda name: found[name], default=None)


def _verdicts(groups: dict[str, list[Evaluation]], best: str, resamples: int, seed: int) -> dict[str, Verdict]:
    differences = {}
    for name, group in groups.items():
        if not name.startswith(PREFIX):
            difference = compare(group, groups[best], resamples=resamples, seed=seed)["auc"]
            if difference is not None:
                differences[name] = difference
    tested = {name: each.p_value for name, each in differences.items() if each.p_value is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {
        name: Verdict(best, each.difference, each.interval, adjusted.get(name), each.above_zero)
        for name, each in differences.items()
    }


def _row(model: str, group: list[Evaluation], verdict: Verdict | None, resamples: int, seed: int) -> Row:
    frames = [each.scores.frame for each in group]
    return Row(
        model=model,
        seeds=len(group),
        auc=_over_seeds(group, "auc"),
        auc_interval=bootstrap_ci("auc", frames, n_resamples=resamples, seed=seed),
        gauc=_over_seeds(group, "gauc"),
        gauc_users=group[0].metrics["gauc_users"],
        labelled_ndcg=_over_seeds(group, "labelled_ndcg"),
        logloss=_over_seeds(group, "logloss"),
        ece=_over_seeds(group, "ece"),
        verdict=verdict,
    )


def _over_seeds(group: list[Evaluation], metric: str) -> MeanSd | None:
    values = [each.metrics[metric] for each in group]
    return None if any(value is None for value in values) else mean_sd(values)


def _caption(metrics: dict[str, Any]) -> str:
    return (
        f"{metrics['split']}: {metrics['n']:,} samples of {metrics['n_users']:,} users, "
        f"{metrics['positive_share']:.1%} positive; GAUC over {metrics['gauc_users']:,} users with both labels; "
        f"NDCG@10 within users' own items, over {metrics['labelled_ndcg_users']:,} users with a liked one."
    )


def _cells(row: Row, before_sd: str) -> list[str]:
    verdict = "" if row.verdict is None else "yes" if row.verdict.beats else "no"
    return [
        row.model if row.seeds == 1 else f"{row.model} ({row.seeds} seeds)",
        number(row.auc, 4, before_sd),
        span(row.auc_interval, ".3f"),
        number(row.gauc, 4, before_sd),
        number(row.labelled_ndcg, 4, before_sd),
        number(row.logloss, 3),
        number(row.ece, 3),
        verdict,
    ]


def number(value: MeanSd | None, digits: int, before_sd: str | None = None) -> str:
    """A mean, and its sd behind `before_sd` where that is given and there are several seeds."""
    if value is None:
        return UNDEFINED
    sd = "" if value.sd is None or before_sd is None else f"{before_sd}±{value.sd:.3f}"
    return f"{value.mean:.{digits}f}{sd}"


def span(interval: Interval | None, form: str) -> str:
    """Both ends of an interval, each in the format `form`."""
    if interval is None:
        return UNDEFINED
    separator = " to " if form.startswith("+") else "–"
    return f"{interval.low:{form}}{separator}{interval.high:{form}}"


def p_value(value: float | None) -> str:
    """A p-value, small ones as a bound."""
    return UNDEFINED if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
