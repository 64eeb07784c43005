"""K samples of a target for a handful of weights beside the model, instead of LoRA: how good is the model then?

    python benchmarks/few_scalars.py DATA MODEL [--shots 64 256] [--draws 5] [--again 0] [--device cuda]

DATA is the prepared target, MODEL a model whose prompts state facts. A draw is the K training samples that K-shot
tuning with that seed is given. On these alone a logistic regression is fitted whose start is the model: its log-odds
have weight 1, the rest has 0. How far the weights may go from there is chosen by cross-validation within the K samples.
The test split is scored once, by the model as it is; no row is chosen by it. With --again N the model is also asked
with what the K samples tell of titles in its prompts, and nothing fitted, for the first N draws.

Rows: the model as it is; *scalars*, with a temperature, a bias, and weights of the user's like-rate, of what the source
thinks of the item (twice: alone, and times how many met it) and of taste; *and counts*, with one more, of how much what
the K samples tell of titles changes the expectation of the model's facts; *all facts*, with a weight for each number
that this expectation reads. *Facts alone* are that expectation without any fit and any language model; *counted*, with
the counts of the K samples. Differences are to the model as it is, over all draws, with a 95 % interval over users.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit

from recalign.data.facts import FactFinder
from recalign.data.knowledge import TitleKnowledge
from recalign.data.like_rule import LikeRule
from recalign.data.samples import Sample, SampleSet, choose_shots
from recalign.metrics.classification import auc, gauc, log_loss
from recalign.metrics.significance import paired_bootstrap
from recalign.scoring.base import Scorer, sample_lists
from recalign.scoring.yes_no import YesNoScorer
from recalign.seeding import generator
from recalign.tuning.learned_titles import count_shots
from recalign.tuning.model_artifact import load_knowledge, load_scorer

Array = NDArray[np.float64]

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e4)  # of weights of standardised columns; the last moves nothing
FOLDS = 8
RATE, ODDS, ODDS_KNOWN, TASTE = 0, 5, 7, 10  # columns of `FactFinder.features`


def facts(data: SampleSet, known: TitleKnowledge, samples: Sequence[Sample]) -> Array:
    """The numbers that `known.rule` reads of each sample, shape (samples, 11)."""
    finder = FactFinder(data.catalog, known)
    return np.concatenate([finder.features(asked) for asked in sample_lists(samples)])


def columns(rule: LikeRule, before: Array, after: Array) -> Array:
    """What may have weights: the facts before the K samples were counted, and by how much these move the rule."""
    moved = logit(rule(after)) - logit(rule(before))
    rates = logit(np.clip(before[:, RATE], 0.02, 0.98))
    return np.column_stack([rates, before[:, RATE + 1 :], moved])


def fit(design: Array, start: Array, likes: Array, penalty: float) -> Array:
    """Weights of the columns, the last one a constant, by which the log-odds `start` are moved; Newton's method."""
    ridge = np.append(np.full(design.shape[1] - 1, penalty), 1e-3)
    weights = np.zeros(design.shape[1])
    for _ in range(25):
        expected = expit(start + design @ weights)
        curvature = (design * (expected * (1 - expected))[:, None]).T @ design + np.diag(ridge)
        weights -= np.linalg.solve(curvature, design.T @ (expected - likes) + ridge * weights)
    return weights


def fitted(given: Array, start: Array, likes: Array, asked: Array, asked_start: Array) -> tuple[Array, float]:
    """Log-odds of what is asked about, after a fit to what is given; and the penalty that was chosen there."""
    tables = [np.column_stack(pair) for pair in ((given, start), (asked, asked_start))]
    means, scales = tables[0].mean(axis=0), np.maximum(tables[0].std(axis=0), 1e-9)
    own, other = (np.column_stack([(table - means) / scales, np.ones(len(table))]) for table in tables)
    folds = generator(0, "few-scalars").permutation(len(likes)) % FOLDS
    losses = []
    for penalty in PENALTIES:
        found = start.copy()
        for fold in range(FOLDS):
            rest, part = folds != fold, folds == fold
            found[part] += own[part] @ fit(own[rest], start[rest], likes[rest], penalty)
        losses.append(log_loss(likes, found) or 0.0)
    chosen = PENALTIES[int(np.argmin(losses))]
    return asked_start + other @ fit(own, start, likes, chosen), chosen


def log_odds(scorer: Scorer, samples: Sequence[Sample]) -> dict[str, float]:
    """By sample id."""
    ids = (sample.sample_id for sample in samples)
    return dict(zip(ids, scorer.score(sample_lists(samples)).flat(), strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--shots", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--again", type=int, default=0, help="draws for which the model is asked with their counts")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    data, known = SampleSet.load(options.data), load_knowledge(options.model)
    if known is None or known.rule is None:
        sys.exit(f"{options.model} was not tuned with facts in its prompts")
    scorer, rule = load_scorer(options.model, data, device=options.device), known.rule
    train, test = data.samples("train"), data.samples("test")
    asked = [sample for seed in range(options.draws) for sample in choose_shots(train, max(options.shots), seed)]
    scores = log_odds(scorer, list({sample.sample_id: sample for sample in asked}.values())) | log_odds(scorer, test)
    print(f"{len({sample.user_id for sample in test})} users, {len(test)} test samples, {options.draws} draws")
    print(f"{'':24} {'AUC':>6} {'minus the model':>24}  {'GAUC':>6} {'minus the model':>24}  penalties", flush=True)
    base, source = np.array([scores[sample.sample_id] for sample in test]), facts(data, known, test)
    show("the model", test, [base], base, [])
    show("facts alone", test, [rule(source)], base, [])
    for shots in options.shots:
        rows: dict[str, list[tuple[Array, float]]] = {}
        for seed in range(options.draws):
            drawn = choose_shots(train, shots, seed)
            counted = known.with_counts(count_shots([(data, drawn)]))
            target = facts(data, counted, test)
            given = columns(rule, facts(data, known, drawn), facts(data, counted, drawn))
            other = columns(rule, source, target)
            start = np.array([scores[sample.sample_id] for sample in drawn])
            likes = np.array([float(sample.label) for sample in drawn])
            few = [RATE, ODDS, ODDS_KNOWN, TASTE]
            for name, used in {"scalars": few, "and counts": [*few, -1], "all facts": [*range(given.shape[1])]}.items():
                found = fitted(given[:, used], start, likes, other[:, used], base)
                rows.setdefault(f"{shots} {name}", []).append(found)
            rows.setdefault(f"{shots} facts alone, counted", []).append((rule(target), np.nan))
            if seed < options.again:
                finder = FactFinder(data.catalog, counted)
                told = YesNoScorer(scorer.model, scorer.encoder, data.catalog, finder=finder)
                again = np.array(list(log_odds(told, test).values()))
                rows.setdefault(f"{shots} the model, counted", []).append((again, np.nan))
        for name, draws in rows.items():
            show(name, test, [found for found, _ in draws], base, [penalty for _, penalty in draws])


def show(name: str, test: Sequence[Sample], draws: Sequence[Array], base: Array, penalties: Sequence[float]) -> None:
    """Print one row: means over the draws."""
    fields = ("sample_id", "user_id", "label")
    plain = pl.DataFrame({field: [getattr(sample, field) for sample in test] for field in fields})
    first, *tables = (plain.with_columns(pl.Series("score", scores)) for scores in (base, *draws))
    users, cells = plain["user_id"].to_numpy(), []
    for statistic in ("auc", "gauc"):
        gap = paired_bootstrap(statistic, tables, [first])
        if gap is None or gap.interval is None:  # published samples are one of each user
            cells.append(f"{'–':>6} {'':26}")
            continue
        labels = plain["label"].to_numpy()
        values = [auc(labels, one) if statistic == "auc" else gauc(labels, one, users).value for one in draws]
        between = f"[{gap.interval.low:+.4f}, {gap.interval.high:+.4f}]"
        cells.append(f"{np.mean(values):.4f} {gap.difference:+.4f} {between:>18}")
    chosen = " ".join(f"{penalty:g}" for penalty in penalties if penalty == penalty)
    print(f"{name:24} {'  '.join(cells)}  {chosen}", flush=True)


if __name__ == "__main__":
    main()
