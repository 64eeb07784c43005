"""What an evaluation says of a model stays in the model's manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.artifacts import append_info, read_manifest, write_directory
from recalign.errors import ArtifactError
from recalign.evaluation.document import Panel, Verdict
from recalign.evaluation.verdicts import keep_verdicts, kept_verdict, verdict_of

from .test_tables import a_panel, a_row

VERDICT = Verdict(prior="prior:p", difference=0.01, interval=(-0.01, 0.03), p_value=0.3, beats=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    with write_directory(tmp_path / "model", kind="model", config={}):
        pass
    return tmp_path / "model"


def a_judged(auc: float = 0.71, users: int = 60, data: str = "f", split: str = "test") -> Panel:
    rows = (a_row("prior:p", 0.7, "prior"), a_row("m", auc, verdicts={"auc": VERDICT}))
    return a_panel(*rows, n_users=users, fingerprints=(data,), split=split)


def test_a_verdict_is_kept_with_its_figures(model: Path) -> None:
    before = read_manifest(model).fingerprint
    keep_verdicts(a_judged(), {"m": model})
    kept = kept_verdict(model, "f")
    assert kept is not None
    assert (kept.users, kept.metric, kept.value, kept.prior_value) == (60, "AUC", 0.71, 0.7)
    assert (kept.data_name, kept.verdict) == ("d", VERDICT)
    assert read_manifest(model).fingerprint == before


def test_that_over_most_users_counts_and_of_several_the_latest(model: Path) -> None:
    for auc, users in ((0.5, 60), (0.6, 60), (0.9, 20)):
        keep_verdicts(a_judged(auc, users), {"m": model})
    kept = kept_verdict(model)
    assert kept is not None
    assert (kept.value, kept.users) == (0.6, 60)


def test_other_data_and_other_splits_say_nothing(model: Path) -> None:
    keep_verdicts(a_judged(data="other"), {"m": model})
    keep_verdicts(a_judged(split="valid"), {"m": model})
    assert kept_verdict(model, "f") is None
    assert kept_verdict(model, "other") is not None


def test_a_verdict_of_another_form_is_told_in_one_line(model: Path) -> None:
    append_info(model, "verdicts", {"users": "many"})
    with pytest.raises(ArtifactError, match=r"verdicts in .*another form"):
        kept_verdict(model)


def test_where_nothing_was_compared_there_is_no_verdict() -> None:
    panel = a_panel(a_row("m", 0.7), fingerprints=("f",))
    assert verdict_of(panel.rows[0], panel, "f") is None
