"""`recalign page`: one file, from the directories of models and data."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from recalign import Recommender, artifacts, tune
from recalign.serving.results import Results

from .conftest import Cli


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, workshop: Path) -> Path:
    settings = {"max_steps": 1, "batch_size": 2, "shots": 4, "precision": "fp32"}
    output = tmp_path_factory.mktemp("page") / "rt"
    return tune([workshop / "data"], output, backbone=str(workshop / "backbone"), settings=settings)


def results_in(page: Path) -> Results:
    (found,) = re.findall(r'<script id="embedded" type="application/json">(.*?)</script>', page.read_text())
    return Results.model_validate_json(found)


def test_a_page_of_test_users_with_the_priors_and_the_audit(
    cli: Cli, model: Path, workshop: Path, tmp_path: Path
) -> None:
    page = tmp_path / "new" / "page.html"
    code, out, error = cli("page", model, "--data", workshop / "data", "--users", 2, "-k", 3, "--output", page)
    size = f"{page.stat().st_size / 1000:.0f} kB"
    said, unknown, after = out.splitlines()
    assert (code, error) == (0, "")
    assert said == f"page: {page} (5 models, 2 histories, {size}); open it in a browser"
    data = workshop / "data"
    assert unknown == f"{model} is not evaluated on {data}: the page cannot say whether it is any good"
    assert after == f"next: recalign evaluate {model} --data {data}"
    results = results_in(page)
    assert list(results.verdicts) == ["rt"]
    assert "recalign evaluate MODEL --data DATA" in results.verdicts["rt"].text
    assert [*results.lists][:2] == ["rt", "prior:item-mean"]
    assert {len(shown.items) for lists in results.lists.values() for shown in lists} == {3}
    assert results.audit.data == "data"
    before = page.read_bytes()
    assert cli("page", model, "--data", workshop / "data", "--users", 2, "-k", 3, "--output", page)[0] == 0
    assert page.read_bytes() == before


def test_a_page_says_what_an_evaluation_found(cli: Cli, model: Path, workshop: Path, tmp_path: Path) -> None:
    copy, data, page = tmp_path / "rt", workshop / "data", tmp_path / "page.html"
    shutil.copytree(model, copy)
    assert cli("evaluate", copy, "--data", data, "--resamples", 20)[0] == 0
    code, out, _ = cli("page", f"mine={copy}", "--data", data, "--users", 1, "-k", 2, "--output", page)
    assert (code, out.splitlines()[1]) == (0, f"next: recalign serve mine={copy} --data {data}")
    (told,) = results_in(page).verdicts.items()
    assert told[0] == "mine"
    assert re.fullmatch(r".*14 test users.*AUC 0\.\d\d.* the best prior, .* has 0\.\d\d\.", told[1].text)


def test_a_page_of_one_person(cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = Recommender.load(model)
    likes, dislikes = ([f"id:{item}" for item in expected.catalog.ids[at : at + 2]] for at in (0, 2))
    options = [word for title in likes for word in ("--likes", title)]
    options += [word for title in dislikes for word in ("--dislikes", title)]
    code, out, _ = cli("page", f"mine={model}", *options, "-k", 5)
    assert (code, out.startswith("page: page.html (1 model, 1 history, ")) == (0, True)
    results = results_in(tmp_path / "page.html")
    ranked = expected.recommend(likes, dislikes, k=5)
    assert [item.item_id for item in results.lists["mine"][0].items] == [item.item_id for item in ranked]
    assert [entry.liked for entry in results.histories[0].entries].count(True) == 2
    assert results.audit.data is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--likes", "id:1"], "nothing-here"),
        ([], "nobody to recommend to"),
        (["--likes", "id:1", "--output", "page.txt"], "one in .html"),
        (["--users", "0"], "--users"),
    ],
)
def test_what_makes_no_page_is_told_in_one_line(cli: Cli, options: list[str], word: str) -> None:
    code, _, error = cli("page", "nothing-here", *options)
    assert (code, word in error, error.count("\n")) == (2, True, 1)


def test_a_full_disk_leaves_the_page_as_it_was(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("as it was")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifacts.io, "write", full)
    item = Recommender.load(model).catalog.ids[0]
    code, _, error = cli("page", model, "--likes", f"id:{item}", "--output", page)
    assert (code, "no space left" in error) == (2, True)
    assert page.read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
