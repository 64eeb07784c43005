"""`results.json`: what is written is read again; what is damaged or of another version is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from recalign.errors import ArtifactError
from recalign.experiment.study import (
    FORMAT_VERSION,
    RESULTS_FILE,
    Measured,
    Metrics,
    Missing,
    Panel,
    Row,
    Study,
    Verdict,
)


def study() -> Study:
    row = Row(
        model="TLRec <b>\x1b[31m",
        kind="tuned",
        backbone="nano",
        shots=16,
        seeds=(0, 1),
        metrics=Metrics(auc=Measured(mean=0.6, sd=0.1, ci=(0.5, 0.7), n=2)),
        verdict=Verdict(prior="prior:like-rate", difference=0.1, interval=(0.05, 0.2), p_value=0.01, beats=True),
        published={"auc": 0.7304},
    )
    panel = Panel(
        name="movie", title="Movie", data="movie", split="test", n=4, n_users=2, positive_share=0.5, gauc_users=2,
        rows=(row,),
    )  # fmt: skip
    missing = (Missing(job="x", status="failed", reason="ü"),)
    return Study(name="e", title="E", panels=(panel,), missing=missing, machine={"cores": 2, "system": "Linux"})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = study().write(tmp_path)
    assert path == tmp_path / RESULTS_FILE
    assert Study.read(tmp_path) == study()
    assert json.loads(path.read_text(encoding="utf-8"))["format_version"] == FORMAT_VERSION
    study().model_copy(update={"title": "Again"}).write(tmp_path)
    assert Study.read(tmp_path).title == "Again"
    assert [each.name for each in tmp_path.iterdir()] == [RESULTS_FILE]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{", "the document: Invalid JSON"),
        (b"[]", "the document: "),
        (b"\xff\xfe", "no text"),
        (b'{"name": "e", "title": "E"}', "panels: Field required"),
        (b'{"name": "e", "title": "E", "panels": [], "more": 1}', "more: Extra inputs"),
        (b'{"name": "e", "title": "E", "panels": [{"name": "p"}]}', "panels.0.title: Field required"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / RESULTS_FILE).write_bytes(content)
    with pytest.raises(ArtifactError) as error:
        Study.read(tmp_path)
    assert found in str(error.value)
    assert str(error.value).isprintable()


def test_where_there_is_none_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="recalign experiment FILE"):
        Study.read(tmp_path)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    path = study().write(tmp_path)
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ArtifactError, match="expected format version 1"):
        Study.read(tmp_path)


@pytest.mark.parametrize(
    ("row", "title"),
    [
        (
            Row(model="M", kind="tuned", backbone="nano", shots=16, control="masked-titles"),
            "M, nano, 16-shot, masked-titles",
        ),
        (Row(model="M", kind="tuned", backbone="nano"), "M, nano"),
        (Row(model="M", kind="in-context", backbone="nano"), "M, nano"),
        (Row(model="M", kind="baseline", shots=1), "M, 1-shot"),
        (Row(model="prior:random", kind="prior"), "prior:random"),
    ],
)
def test_titles_of_rows(row: Row, title: str) -> None:
    assert row.title == title


def test_a_study_cannot_be_changed_and_knows_its_values() -> None:
    with pytest.raises(ValidationError):
        study().title = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Row(model="M", kind="other")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Missing(job="x", status="done", reason="")  # type: ignore[arg-type]
