"""Prepared data beside the models: priors as models, and the audit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recalign.baselines.priors import NEEDS_FIT, prior
from recalign.data.samples import CandidateList, HistoryEntry, SampleSet
from recalign.errors import ConfigError, DataError
from recalign.evaluation.priors import priors_for
from recalign.experiment.audit import audit_with
from recalign.recommender import Recommender
from recalign.serving.data import PRIORS, DataBeside
from recalign.serving.security import ApiKeys

from .conftest import Start
from .fakes import films

KEY = "0123456789abcdef"


def test_the_priors_are_those_of_evaluation_that_tell_items_apart(data: SampleSet, model: Recommender) -> None:
    asked = [CandidateList("u", (HistoryEntry("1", True), HistoryEntry("2", False)), data.catalog.ids)]
    values = {scorer.name: scorer.score(asked).values[0] for scorer in priors_for(data).scorers}
    apart = [name for name, scores in values.items() if len(set(scores)) > 1]
    beside = DataBeside.of(data, model)
    assert list(beside.priors) == apart
    assert {name.removeprefix("prior:") for name in apart} == set(PRIORS) <= set(NEEDS_FIT)
    for name, recommender in beside.priors.items():
        assert np.array_equal(recommender.scorer.score(asked).values[0], values[name])


def test_priors_share_what_the_model_has_of_the_catalogue(data: SampleSet, model: Recommender) -> None:
    for recommender in DataBeside.of(data, model).priors.values():
        assert recommender.catalog is model.catalog
        assert recommender.titles is model.titles
        assert recommender.scorer is not model.scorer


def test_priors_are_served_after_the_models(start: Start, data: SampleSet, model: Recommender) -> None:
    server = start({"fake": model}, data=DataBeside.of(data, model))
    names = server.get("/readyz").json["models"]
    assert names == ["fake", *(f"prior:{name}" for name in PRIORS)]
    assert server.post("/v1/recommend", likes=["id:1"]).json["model"] == "fake"
    for name in PRIORS:
        answer = server.post("/v1/recommend", model=f"prior:{name}", likes=["id:1"], dislikes=["id:4"], k=3).json
        expected = Recommender(prior(name, data), data.catalog).recommend(["id:1"], ["id:4"], k=3)
        assert [(item["item_id"], item["score"]) for item in answer["items"]] == [
            (item.item_id, item.score) for item in expected
        ]


def test_the_audit_is_that_of_the_command(start: Start, data: SampleSet, model: Recommender) -> None:
    answer = start({"fake": model}, data=DataBeside.of(data, model)).get("/v1/audit")
    assert answer.status == 200
    assert answer.json == {**json.loads(audit_with(data).model_dump_json()), "data": "films"}
    assert "user-overlap" in [finding["code"] for finding in answer.json["findings"]]


def test_without_data_there_is_no_prior_and_no_audit(start: Start) -> None:
    server = start()
    assert server.get("/v1/audit").json == {"data": None, "findings": []}
    assert server.get("/readyz").json["models"] == ["fake"]
    assert server.post("/v1/recommend", model="prior:item-mean", likes=["id:1"]).status == 404


def test_the_audit_needs_the_key(start: Start, data: SampleSet, model: Recommender) -> None:
    server = start({"fake": model}, data=DataBeside.of(data, model), keys=ApiKeys([KEY]))
    assert server.get("/v1/audit").status == 401
    assert server.ask("GET", "/v1/audit", **{"X-API-Key": KEY}).status == 200


def test_priors_need_something_to_count(tmp_path: Path, model: Recommender) -> None:
    with pytest.raises(DataError, match=r"no train samples.*--data"):
        DataBeside.of(films(tmp_path / "films", users=0), model)


def test_a_model_may_not_be_called_like_a_prior(data: SampleSet, model: Recommender) -> None:
    with pytest.raises(ConfigError, match=r"prior:popularity.*NAME=DIRECTORY"):
        DataBeside.of(data, model).beside({"prior:popularity": model})
