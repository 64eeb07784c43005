"""``reference:mf``: biases and a matrix factorisation, fitted on all train labels of the evaluated data itself.

It is no prior and no rival: it shows what these labels are worth to a model that knows no title. The score of user u
and item i is an order, no log-odds::

    g + b_u + b_i + p_u · q_i

with g the mean label, biases shrunk by `SMOOTHING` labels, and 40 factors of what the biases leave, by alternating
ridge regressions. Their regularisation is chosen on the validation split, by AUC. What is not in the train split has
zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recalign.baselines.priors import SMOOTHING, train_interactions
from recalign.data.samples import CandidateList, SampleSet
from recalign.errors import ConfigError, DataError, nearest
from recalign.metrics.classification import auc, undefined_reason
from recalign.scoring.base import Scores, sample_lists
from recalign.seeding import generator

PREFIX: Final = "reference:"
REFERENCES: Final = ("mf",)
FACTORS: Final = 40
REGULARISATIONS: Final = (4.0, 6.0, 8.0, 12.0, 16.0)  # ridge penalty of the factors of a user or an item
DEFAULT: Final = 8.0  # where nothing can choose
_BIAS_ROUNDS: Final = 15
_ROUNDS: Final = 10
_START: Final = 0.1  # standard deviation of the factors that the first round starts from

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Factorisation:
    """The fitted model, a scorer. The last row of each array is that of users or items without a train label.

    Attributes:
        labels: Number of distinct train interactions.
        regularisation: The ridge penalty.
        reason: Why that is the default; "" where the validation split has chosen it.
    """

    labels: int
    regularisation: float
    reason: str
    users: dict[str, int]
    items: dict[str, int]
    mean: float
    user_biases: Floats
    item_biases: Floats
    user_factors: Floats
    item_factors: Floats
    name = f"{PREFIX}mf"
    log_odds = False

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score; histories are not looked at."""
        return Scores(tuple(self._scores(candidates) for candidates in lists))

    def _scores(self, candidates: CandidateList) -> Floats:
        user = self.users.get(candidates.user_id, -1)
        items = np.array([self.items.get(item, -1) for item in candidates.item_ids], dtype=np.int64)
        biases = self.mean + self.user_biases[user] + self.item_biases[items]
        scores: Floats = biases + self.item_factors[items] @ self.user_factors[user]
        return scores


def reference_name(name: str) -> str:
    """Check ``reference:mf`` (the prefix may be missing) and return it with its prefix.

    Raises:
        ConfigError: There is no such reference.
    """
    bare = name.removeprefix(PREFIX)
    if bare not in REFERENCES:
        near = nearest(bare, REFERENCES)
        hint = f"Did you mean {PREFIX}{near}?" if near else ""
        raise ConfigError(f"reference {name!r}", expected=", ".join(PREFIX + known for known in REFERENCES), hint=hint)
    return PREFIX + bare


def reference(name: str, data: SampleSet, split: str = "test", *, seed: int = 0) -> Factorisation:
    """Fit a reference on the train split of the data whose `split` will be scored.

    `name` is that of `reference_name`, `seed` that of the factors' start. The validation split chooses, unless it is
    the `split` that is scored.

    Raises:
        ConfigError: There is no such reference.
        DataError: The train split has no samples.
    """
    whole = reference_name(name)
    if not data.count("train"):
        raise DataError(whole, found="no train samples", expected="labels of the evaluated data to learn")
    labels = _Labels(data)
    samples = [] if split == "valid" else data.samples("valid")
    truth = [sample.label for sample in samples]
    reason = "its validation split is what is scored" if split == "valid" else ""
    if not reason and (why := undefined_reason(truth)):
        reason = f"{why} in its validation split"
    if reason:
        return labels.fit(DEFAULT, reason, seed)
    fits = [labels.fit(penalty, "", seed) for penalty in REGULARISATIONS]
    return max(fits, key=lambda fit: auc(truth, fit.score(sample_lists(samples)).flat()) or 0.0)


class _Labels:
    """The train labels by user and by item, and the biases in them."""

    def __init__(self, data: SampleSet) -> None:
        pairs = train_interactions(data).sort("user_id", "item_id")
        names, self.user = np.unique(pairs["user_id"].to_numpy(), return_inverse=True)
        items, self.item = np.unique(pairs["item_id"].to_numpy(), return_inverse=True)
        self.users = {name: place for place, name in enumerate(names.tolist())}
        self.items = {name: place for place, name in enumerate(items.tolist())}
        liked = pairs["liked"].to_numpy()
        self.mean = float(liked.mean())
        self.user_biases, self.item_biases = np.zeros(len(self.users)), np.zeros(len(self.items))
        for _ in range(_BIAS_ROUNDS):
            self.item_biases = _shrunk_means(liked - self.mean - self.user_biases[self.user], self.item)
            self.user_biases = _shrunk_means(liked - self.mean - self.item_biases[self.item], self.user)
        self.left = liked - self.mean - self.user_biases[self.user] - self.item_biases[self.item]

    def fit(self, penalty: float, reason: str, seed: int) -> Factorisation:
        """The model with this ridge penalty."""
        start = generator(seed, "reference", "mf").normal(0.0, _START, (len(self.items), FACTORS))
        of_items, of_users = start, np.zeros((len(self.users), FACTORS))
        by_user, by_item = _groups(self.user), _groups(self.item)
        for _ in range(_ROUNDS):
            of_users = _ridge(of_items, self.item, self.left, by_user, penalty)
            of_items = _ridge(of_users, self.user, self.left, by_item, penalty)
        arrays = (_with_zero(each) for each in (self.user_biases, self.item_biases, of_users, of_items))
        return Factorisation(self.left.size, penalty, reason, self.users, self.items, self.mean, *arrays)


def _shrunk_means(values: Floats, groups: Places) -> Floats:
    """Means within groups, as if each had `SMOOTHING` zeros besides."""
    means: Floats = np.bincount(groups, values) / (np.bincount(groups) + SMOOTHING)
    return means


def _groups(groups: Places) -> list[Places]:
    """The places of each group."""
    return np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])


def _ridge(other: Floats, place: Places, target: Floats, groups: Sequence[Places], penalty: float) -> Floats:
    """Each group's ridge regression of `target` on the rows of `other` at `place`."""
    identity = penalty * np.eye(other.shape[1])
    solved = np.empty((len(groups), other.shape[1]))
    for number, members in enumerate(groups):
        rows = other[place[members]]
        solved[number] = np.linalg.solve(rows.T @ rows + identity, rows.T @ target[members])
    return solved


def _with_zero(array: Floats) -> Floats:
    return np.concatenate([array, np.zeros((1, *array.shape[1:]))])
