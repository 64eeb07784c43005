"""Where a page finds the verdict on a model."""

from __future__ import annotations

from pathlib import Path

from recalign.artifacts import read_manifest, write_directory
from recalign.data.samples import SampleSet
from recalign.evaluation.document import Estimate, Panel, Row, Verdict
from recalign.evaluation.verdicts import keep_verdicts
from recalign.experiment.results import Results
from recalign.recommender import Recommender
from recalign.serving.data import DataBeside
from recalign.serving.model_verdicts import find_verdict, told_verdicts

from .conftest import Start


def a_panel(data: str, auc: float, seeds: tuple[int, ...] = (0,)) -> Panel:
    verdict = Verdict(prior="prior:p", difference=auc - 0.7, interval=(-0.01, 0.02), beats=False)
    rows = (
        Row(model="prior:p", kind="prior", metrics={"auc": Estimate(mean=0.7)}),
        Row(model="rt", kind="tuned", seeds=seeds, metrics={"auc": Estimate(mean=auc)}, verdicts={"auc": verdict}),
    )
    facts = {"name": "p", "title": "P", "data": "d", "split": "test", "n": 60, "n_users": 60, "positive_share": 0.5}
    return Panel.model_validate({**facts, "fingerprints": (data,), "rows": rows})


def test_a_run_says_it_where_nobody_evaluated_its_model(tmp_path: Path, data: SampleSet) -> None:
    model = tmp_path / "run" / "models" / "rt"
    with write_directory(model, kind="model", config={}):
        pass
    assert find_verdict(str(model), data.path) is None
    ours = read_manifest(data.path).fingerprint
    for panel, value in (
        (a_panel(ours, 0.71), 0.71),
        (a_panel(ours, 0.71, (0, 1)), None),
        (a_panel("other", 0.6), None),
    ):
        Results(name="n", title="t", panels=(panel,)).write(tmp_path / "run")
        found = find_verdict(f"named={model}", data.path)
        assert (found and found.value) == value
    anywhere = find_verdict(str(model), None)
    assert anywhere is not None
    assert anywhere.value == 0.6
    keep_verdicts(a_panel(ours, 0.72), {"rt": model})  # what `recalign evaluate` kept is later
    kept = find_verdict(str(model), data.path)
    assert kept is not None
    assert kept.value == 0.72


def test_models_with_and_without_a_verdict_are_told(
    tmp_path: Path, start: Start, data: SampleSet, model: Recommender
) -> None:
    judged, unknown = tmp_path / "judged", tmp_path / "unknown"
    for directory in (judged, unknown):
        with write_directory(directory, kind="model", config={}):
            pass
    keep_verdicts(a_panel(read_manifest(data.path).fingerprint, 0.72), {"rt": judged})
    models = {"one": model, "two": model}
    told = told_verdicts(models, [str(unknown), f"two={judged}"], data.path)
    assert [(name, verdict.evaluated) for name, verdict in told.items()] == [("one", False), ("two", True)]
    assert "recalign evaluate MODEL --data DATA" in told["one"].text
    assert "60 test users" in told["two"].text
    server = start(models, data=DataBeside.of(data, model), verdicts=told)
    assert server.get("/v1/verdicts").json == {
        "verdicts": {
            "one": {"evaluated": False, "text": told["one"].text, "prior": None},
            "two": {"evaluated": True, "text": told["two"].text, "prior": "prior:p"},
        }
    }
    assert start().get("/v1/verdicts").json == {"verdicts": {}}
