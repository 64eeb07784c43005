"""The directory of a run: names that lead into the store, none left of a former plan, nothing of others touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.errors import ConfigError
from recalign.experiment.plan import ExperimentPlan
from recalign.experiment.run_directory import check_run_directory, link_outputs, slug
from recalign.experiment.store import Store, TuneWork
from recalign.tuning.model_artifact import model_directory

PlanOf = Callable[[Path], ExperimentPlan]
STAGED = """
[[stages]]
name = "cot"
kind = "cot"
data = ["movie"]
teacher = "heuristic"
curriculum = "staged"

[backbones.b]
name = "some/model"
[teachers.heuristic]
data = "movie"
"""


def finish(plan: ExperimentPlan, store: Store) -> None:
    """Something in place of every output."""
    store.prepare()
    for job in plan.jobs.values():
        path = store.path(job.output)
        if path.suffix:
            path.touch()
        else:
            path.mkdir(exist_ok=True)


def names(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_symlink()}


def test_links_are_relative_and_move_with_the_store(
    tmp_path: Path, write: Callable[..., Path], plan_of: PlanOf
) -> None:
    plan, run = plan_of(write()), tmp_path / "runs" / "tiny"
    store = Store(tmp_path / "runs" / "store")
    link_outputs(run, plan, store)
    assert not names(run), "nothing is done yet"
    finish(plan, store)
    link_outputs(run, plan, store)
    models = {f"GRU4Rec-movie-8-shot-seed-{seed}" for seed in (0, 1)}
    expected = {"data/movie", *(f"models/{name}" for name in models)}
    assert names(run) == expected | {f"scores/movie/{name}.parquet" for name in models}
    (tmp_path / "runs").rename(tmp_path / "moved")
    for name in expected:
        path = tmp_path / "moved" / "tiny" / name
        assert not path.readlink().is_absolute()
        assert path.is_dir()


def test_links_of_a_former_plan_go_and_those_of_another_store_are_changed(
    tmp_path: Path, write: Callable[..., Path], plan_of: PlanOf
) -> None:
    run, store, other = tmp_path / "run", Store(tmp_path / "store"), Store(tmp_path / "other")
    first = plan_of(write())
    finish(first, store)
    link_outputs(run, first, store)
    (run / "models" / ".hidden").touch()
    second = plan_of(write(("seeds = [0, 1]", "seeds = 0"), ('name = "movie"\ndata', 'name = "films"\ndata')))
    finish(second, other)
    link_outputs(run, second, other)
    name = "GRU4Rec-movie-8-shot-seed-0"
    assert names(run) == {"data/movie", f"models/{name}", f"scores/films/{name}.parquet"}
    assert (run / "models" / name).resolve().is_relative_to(other.root)
    assert not (run / "scores" / "movie").exists()
    shutil.rmtree(other.root)
    link_outputs(run, second, other)
    assert not names(run), "links that lead nowhere go"


def test_folds_and_the_stages_of_a_staged_curriculum_have_names(
    tmp_path: Path, write: Callable[..., Path], plan_of: PlanOf
) -> None:
    book = '\n[[panels]]\nname = "book"\ndata = "book"\nstages = ["cot"]\nnegatives = 5\n'
    plan, store, run = plan_of(write(more=STAGED + book)), Store(tmp_path / "store"), tmp_path / "run"
    finish(plan, store)
    (job,) = [job for job in plan.jobs.values() if isinstance(job.work, TuneWork)]
    store.path(f"{job.output}-stage1-only").mkdir()
    link_outputs(run, plan, store)
    found = names(run)
    assert {"models/cot", "models/cot-stage1-only", "cot/heuristic"} <= found
    for fold in range(3):
        expected = {f"data/book-fold-{fold}", f"candidates/book-fold-{fold}", f"scores/book/cot-fold-{fold}.parquet"}
        assert expected | {f"scores/book/cot-fold-{fold}-candidates.parquet"} <= found


@pytest.mark.parametrize("name", ["models/it", "data/movie", "scores/a.parquet", "scores/movie/a.parquet", "cot/x"])
def test_what_is_no_link_is_refused_and_stays(
    tmp_path: Path, write: Callable[..., Path], plan_of: PlanOf, name: str
) -> None:
    plan, store, run = plan_of(write()), Store(tmp_path / "store"), tmp_path / "run"
    finish(plan, store)
    link_outputs(run, plan, store)
    path = run / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    for refused in (lambda: check_run_directory(run), lambda: link_outputs(run, plan, store)):
        with pytest.raises(ConfigError, match=f"found {name}, which is no link into a store") as error:
            refused()
        assert f"--output {tmp_path / 'run-2'}" in str(error.value)
    assert path.read_text() == "mine"


def test_a_file_is_refused_and_nothing_is_fine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="found a file; expected a directory"):
        check_run_directory(tmp_path / "file")
    check_run_directory(tmp_path / "none")
    (tmp_path / "results.json").touch()
    check_run_directory(tmp_path)


def test_a_run_stands_for_its_only_model(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "manifest.json").touch()
    (tmp_path / "run" / "models").mkdir(parents=True)
    (tmp_path / "run" / "models" / "one").symlink_to("../../store/one")
    assert model_directory(tmp_path / "run") == tmp_path / "run" / "models" / "one"
    (tmp_path / "run" / "models" / "two").symlink_to("../../store/two")
    with pytest.raises(ConfigError, match="2 models in it: one, two"):
        model_directory(tmp_path / "run")


def test_names_of_files() -> None:
    assert slug("In-context, 2 examples nano seed 0") == "In-context-2-examples-nano-seed-0"
    assert slug("a/b  c") == "a-b-c"
