"""Prepared data beside the models: the priors that it can supply, and its audit."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Final

from recalign.baselines.priors import ItemStatistics, prior
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError
from recalign.experiment.audit import audit_with
from recalign.recommender import Recommender
from recalign.scoring.base import Scorer
from recalign.serving.schemas import AuditResponse

NO_AUDIT: Final = AuditResponse(data=None, findings=())  # where there is no data
# Those that order a catalogue: `like-rate` and `recent` give all items of a list the same score.
PRIORS: Final = ("item-mean", "popularity", "like-rate+item-mean", "recent+item-mean")


@dataclass(frozen=True, slots=True)
class DataBeside:
    """What stands beside the models.

    Attributes:
        audit: As `recalign audit` computes it.
        priors: By name (``prior:item-mean``); they rank the catalogue of the data.
    """

    audit: AuditResponse
    priors: Mapping[str, Recommender]

    @classmethod
    def of(cls, data: SampleSet, model: Recommender) -> DataBeside:
        """Audit prepared data, and count in its train split what the priors need.

        Args:
            data: The data.
            model: A model of the data's catalogue; the priors share its index.

        Raises:
            DataError: There are no train samples.
        """
        if not data.count("train"):
            hint = "Leave --data out, or prepare data with a train split."
            raise DataError(f"data {data.path}", found="no train samples", expected="some to count", hint=hint)
        statistics = ItemStatistics(data)
        scorers = [prior(name, statistics, model.catalog) for name in PRIORS]
        audit = AuditResponse(data=data.path.absolute().name, findings=audit_with(data).findings)
        return cls(audit, {scorer.name: _with_scorer(model, scorer) for scorer in scorers})

    def beside(self, models: Mapping[str, Recommender]) -> dict[str, Recommender]:
        """The models, and the priors after them. Raises ConfigError where a model has the name of a prior."""
        for name in models.keys() & self.priors.keys():
            raise ConfigError(f"model {name}", found="the name of a prior", hint="Give it another: NAME=DIRECTORY")
        return {**models, **self.priors}


def _with_scorer(model: Recommender, scorer: Scorer) -> Recommender:
    """Another scorer of the same catalogue; the two have one index, and look titles up in one place."""
    _ = model.titles  # made now, so that it is copied
    other = copy(model)
    other.scorer = scorer
    return other
