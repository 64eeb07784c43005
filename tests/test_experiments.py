"""Every shipped experiment is valid, whatever the data are: they are only named, hashed and expanded here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from recalign.experiment.config import Experiment, load_experiment
from recalign.experiment.plan import ExperimentPlan, plan_experiment
from recalign.experiment.published import PAPERS, SHOTS, published
from recalign.experiment.store import PrepareWork

FOLDER = Path(__file__).parent.parent / "experiments"
FILES = sorted(path for path in FOLDER.glob("*.toml") if not path.stem.startswith("common"))
STAND_INS = (
    "ml-100k/u.data",
    "ml-latest-small/ratings.csv",
    "movietweetings-100k/ratings.dat",
    "tallrec-book/valid.json",
    "netflix-prize/combined_data_1.txt",
    "amazon-books/Books_rating.csv",
    "bookcrossing/BX-Book-Ratings.csv",
)
ROWS = {"tallrec-table2": 42, "tlrec-table1": 30}  # cells of the papers' tables


@pytest.fixture(autouse=True, scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with files of the right names; there is no rating in them."""
    folder = tmp_path_factory.mktemp("data")
    for name in STAND_INS:
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(f"in place of {name}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_DATA", str(folder))
        patch.delenv("RECALIGN_TEXT_ENCODER", raising=False)
        yield folder


def load_anew(name: str) -> tuple[Experiment, ExperimentPlan]:
    experiment = load_experiment(FOLDER / f"{name}.toml")
    return experiment, plan_experiment(experiment)


@cache
def load(name: str) -> tuple[Experiment, ExperimentPlan]:
    return load_anew(name)


def test_all_tables_and_figures_are_there() -> None:
    assert {path.stem for path in FILES} >= {*PAPERS[1:], "smoke", "quickstart", "movielens"}
    assert {load(path.stem)[0].paper for path in FILES} >= set(PAPERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_is_consistent(path: Path) -> None:
    experiment, plan = load(path.stem)
    assert experiment.name == path.stem
    assert experiment.title
    assert experiment.paper in ("", experiment.name)
    seen: set[str] = set()
    for key, job in plan.jobs.items():
        assert key == job.key
        assert seen.issuperset(job.needs), f"{job.name} comes before what it needs"
        seen.add(key)
    outputs = [job.output for job in plan.jobs.values()]
    assert len(set(outputs)) == len(outputs)
    models = [job.name for job in plan.jobs.values() if job.work.kind == "tune"]
    assert len(set(models)) == len(models)
    assert plan.panels, "a shipped experiment ends with results"
    for figure in experiment.figures:
        (panel,) = [each for each in plan.panels if each.entry.name == figure.panel]
        drawn = {cell.model for cell in panel.cells if figure.kind != "bars" or cell.shots == figure.shots}
        assert set(figure.models) <= drawn, f"{figure.title}: draws what is not there"


def test_no_block_of_eight_lines_is_repeated() -> None:
    """Data sets, backbones and stages extend one another instead; panels and figures come after them."""
    places: dict[tuple[str, ...], str] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        made = path.read_text(encoding="utf-8").partition("[[panels]]")[0]
        lines = [line for line in made.splitlines() if line and not line.startswith("#")]
        for start in range(len(lines) - 7):
            block = tuple(lines[start : start + 8])
            assert block not in places, f"{path.name} repeats {places.get(block)}: {block[0]} …"
            places[block] = path.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_fewer_seeds_are_a_part_of_the_whole(path: Path) -> None:
    whole = load(path.stem)[1].jobs
    part = plan_experiment(load_experiment(path, seeds=1)).jobs
    assert set(part) <= set(whole)
    experiment = load(path.stem)[0]
    several = [entry for entry in (*experiment.stages, *experiment.baselines) if len(entry.seeds) > 1]
    assert bool(several) == (set(part) != set(whole))
    assert {job.work.config.seed for job in part.values() if job.work.kind in ("tune", "baseline")} == {0}


@pytest.mark.parametrize("name", ROWS)
def test_the_papers_tables_are_complete(name: str) -> None:
    experiment, plan = load(name)
    cells = {
        (panel.entry.name, cell.model, cell.shots)
        for panel in plan.panels
        for cell in panel.cells
        if not cell.control and published(experiment.paper, panel.entry.name, cell.model, cell.shots)
    }
    assert len(cells) == ROWS[name]
    assert {shots for *_, shots in cells} == set(SHOTS)


@pytest.mark.parametrize("name", ["tallrec-table2", "tlrec-table1"])
def test_text_baselines_run_where_there_is_an_encoder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def reasons() -> set[str]:
        _, plan = load_anew(name)
        return {cell.reason for panel in plan.panels for cell in panel.cells if cell.model.endswith("-BERT")}

    assert reasons() == {"no text encoder was given"}
    monkeypatch.setenv("RECALIGN_TEXT_ENCODER", "some/encoder")
    assert reasons() == {""}


def test_what_experiments_share_is_run_once() -> None:
    table, figure, shots = (set(load(name)[1].jobs) for name in ("tallrec-table2", "tallrec-fig3", "tallrec-fig4"))
    assert table & figure
    assert table & shots
    _, first = load("tlrec-table1")
    _, second = load("tlrec-fig2")
    assert {job.name for job in first.jobs.values() if job.work.kind == "teach"} == {"teacher heuristic"}
    assert set(first.jobs) & set(second.jobs)


def test_zero_shot_rows_learn_nothing_from_their_panel() -> None:
    for path in FILES:
        _, plan = load(path.stem)
        for panel in plan.panels:
            tested = {job.key for job in panel.data}
            for cell in panel.cells:
                if not cell.zero_shot:
                    continue
                for job in cell.trained:
                    taught = _labels(plan, job.key)
                    assert taught, f"{path.stem}: {cell.model} was tuned on nothing"
                    assert taught.isdisjoint(tested), f"{path.stem}: {cell.model} is not zero-shot"


def _labels(plan: ExperimentPlan, key: str) -> set[str]:
    """Keys of the data whose labels a model and its ancestors were tuned on."""
    job = plan.jobs[key]
    if job.work.kind != "tune":
        return set()
    by_output = {each.output: each.key for each in plan.jobs.values()}
    found = {by_output[output] for output in job.work.data}
    return found | (_labels(plan, by_output[job.work.parent]) if job.work.parent else set())


def test_a_changed_input_changes_what_is_made_from_it_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, before = load("tallrec-table2")
    monkeypatch.setenv("RECALIGN_DATA", str(shutil.copytree(data, tmp_path / "data")))
    assert load_anew("tallrec-table2")[1].jobs.keys() == before.jobs.keys(), "the folder's name is no part of a key"
    (tmp_path / "data" / "tallrec-book" / "valid.json").write_text("another byte\n")
    _, after = load_anew("tallrec-table2")
    movie = {job.name for job in before.jobs.values() if isinstance(job.work, PrepareWork) and job.name == "movie"}
    gone = {before.jobs[key].name for key in set(before.jobs) - set(after.jobs)}
    kept = {before.jobs[key].name for key in set(before.jobs) & set(after.jobs)}
    assert movie <= kept
    assert gone
    assert all("book" in name for name in gone), sorted(name for name in gone if "book" not in name)
    assert not any("on book" in name or name.startswith("book") for name in kept)
