"""Rows that show what the labels of the evaluated data are worth. They are learnt in the data's own train split.

No verdict counts them: they are no priors, which must do without these labels, and no models to be judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from recalign.baselines.factorisation import Factorisation, reference
from recalign.evaluation.document import ReferenceFit, Row
from recalign.evaluation.priors import Fold
from recalign.evaluation.ranking import score_task
from recalign.evaluation.rows import RowScores, ScoredRow
from recalign.evaluation.score import score_split


def reference_rows(
    folds: Sequence[Fold], split: str, names: Sequence[str], *, seed: int = 0
) -> tuple[list[ScoredRow], tuple[ReferenceFit, ...]]:
    """Rows of these references, folds pooled, each of which they are fitted on.

    Returns:
        The rows without metrics, and what was fitted, fold after fold.

    Raises:
        ConfigError: There is no such reference.
        DataError: The split is empty, or a fold has no train samples.
    """
    rows, fits = list[ScoredRow](), list[ReferenceFit]()
    for name in names:
        models = [reference(name, fold.data, split, seed=seed) for fold in folds]
        samples = [score_split(model, fold.data, split, seed=seed) for model, fold in zip(models, folds, strict=True)]
        lists = [
            score_task(model, fold.task, seed=seed)
            for model, fold in zip(models, folds, strict=True)
            if fold.task is not None
        ]
        row = Row(model=models[0].name, kind="reference")
        orders = [fold.order for fold in folds]
        rows.append(ScoredRow(row, RowScores.of([samples], [lists] if lists else [], orders)))
        fits += [fit_of(model) for model in models]
    return rows, tuple(fits)


def fit_of(model: Factorisation) -> ReferenceFit:
    """What was fitted, as data."""
    return ReferenceFit(model=model.name, labels=model.labels, regularisation=model.regularisation, reason=model.reason)
