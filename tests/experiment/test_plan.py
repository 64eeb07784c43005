"""What a changed file runs again: the keys of its jobs, before anything is run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recalign.errors import ConfigError, DataError
from recalign.experiment.graph import input_fingerprint
from recalign.experiment.plan import Cell, ExperimentPlan
from recalign.experiment.store import CandidatesWork, PrepareWork, make_job

from .conftest import SMOKE

Change = Callable[..., ExperimentPlan]
Done = Any  # of conftest


def new_jobs(before: ExperimentPlan, after: ExperimentPlan) -> list[str]:
    """Names of the jobs that are to be run when all of `before` are done."""
    return sorted(job.name for key, job in after.jobs.items() if key not in before.jobs)


def of_few_book() -> set[str]:
    models = {f"few-book-seed{seed} fold {fold}" for seed in (0, 1) for fold in (0, 1, 2)}
    return models | {f"score {name} on book fold {name[-1]}" for name in models}


def test_nothing_is_run_for_what_is_only_shown(change: Change) -> None:
    before = change()
    for changes in (
        [('title = "Smoke: every kind of work, on generated data"', 'title = "Other"')],
        [('label = "TALLRec"', 'label = "Other"')],
        [('label = "In-context"', 'label = "Other"')],
        [('compare = [["TLRec", "GRU4Rec"]]', "")],
        [('zero_shot = ["full"]', "")],
        [('unseen_by = ["source"]', "")],
        [('title = "Books, three folds"\ndata = "book"', 'data = "book"')],
    ):
        assert new_jobs(before, change(*changes)) == [], changes


def test_a_stage_of_other_settings_and_what_is_made_from_it(change: Change) -> None:
    after = change(('data = ["book"]\nshots = [8]', 'data = ["book"]\noptim = { lr = 3e-4 }\nshots = [8]'))
    assert set(new_jobs(change(), after)) == of_few_book()


def test_a_parent_of_other_settings_and_its_children(change: Change) -> None:
    after = change(("instructions = 40", "instructions = 41"))
    assert set(new_jobs(change(), after)) == {"it", *of_few_book()}


def test_one_more_seed_and_one_more_k(change: Change) -> None:
    after = change(
        ("shots = [4, 8]\nseeds = [0, 1]", "shots = [4, 8, 16]\nseeds = [0, 1]"),
        ("seeds = [0, 1]\nsettings", "seeds = [0, 1, 5]\nsettings"),
    )
    names = [f"few-movie-16shot-seed{seed}" for seed in (0, 1)]
    names += [f"{name} movie 8-shot seed 5" for name in ("GRU4Rec", "SASRec")]
    expected = {text for name in names for text in (name, f"score {name} on movie", f"rank {name} on movie")}
    assert set(new_jobs(change(), after)) == expected


def test_data_of_another_seed_and_all_that_reads_them(change: Change) -> None:
    before = change()
    after = change(('protocol = "tallrec-book"', 'protocol = "tallrec-book"\nseed = 3'))
    expected = {f"book fold {fold}" for fold in (0, 1, 2)} | of_few_book()
    expected |= {f"score full-seed{seed} on book fold {fold}" for seed in (0, 1) for fold in (0, 1, 2)}
    assert set(new_jobs(before, after)) == expected
    kept = [job for job in after.jobs.values() if job.key in before.jobs]
    assert all("book" not in job.name for job in kept)


def test_fewer_candidates_are_ranked_again_but_nothing_else(change: Change) -> None:
    found = new_jobs(change(), change(("negatives = 20", "negatives = 19")))
    assert found[0] == "candidates movie"
    assert all(name.startswith("rank ") for name in found[1:])
    assert len(found) == 1 + 2 * 3 + 4


def test_stages_that_no_panel_shows_are_not_run(change: Change) -> None:
    before = change()
    after = change(('stages = ["full", "few-book"]', 'stages = ["full"]'))
    gone = {before.jobs[key].name for key in set(before.jobs) - set(after.jobs)}
    assert gone == {"it", *of_few_book()}, "nor what only they start from"
    assert new_jobs(before, after) == []
    bare = change(
        ('stages = ["full", "few-book"]', "stages = []"),
        ('stages = ["full", "few-movie"]\nzero_shot = ["full"]', ""),
        ('controlled = ["full"]', ""),
        ('compare = [["TLRec", "GRU4Rec"]]', ""),
    )
    assert {job.work.kind for job in bare.jobs.values()} == {"prepare", "nano", "baseline", "candidates", "score"}


def test_an_input_of_other_bytes(
    write: Callable[..., Path], tmp_path: Path, plan_of: Callable[[Path], ExperimentPlan]
) -> None:
    folder = tmp_path / "ratings"
    folder.mkdir()
    (folder / "u.data").write_text("1")
    settings = f'[data.read]\ndataset = "movielens-100k"\ninput = "{folder}"\n'
    panel = '\n[[panels]]\nname = "read"\ndata = "read"\n'
    file = write(more=panel + settings)
    before = plan_of(file)
    shutil.move(folder, tmp_path / "moved")
    with pytest.raises(DataError, match="no file"):
        plan_of(file)
    (tmp_path / "moved").rename(folder)
    assert plan_of(file).jobs.keys() == before.jobs.keys()
    (folder / "u.data").write_text("2")
    assert new_jobs(before, plan_of(file)) == ["read"]


def test_files_are_told_apart_by_name_and_content_not_by_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "data", tmp_path / "two" / "data"
    for folder in (one, two):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a").write_text("a")
    assert input_fingerprint(one) == input_fingerprint(two)
    (two / "deep" / "a").rename(two / "deep" / "b")
    assert input_fingerprint(one) != input_fingerprint(two)
    assert input_fingerprint(one / "deep" / "a") != input_fingerprint(one)


def test_experiments_share_equal_jobs(
    change: Change, write: Callable[..., Path], plan_of: Callable[[Path], ExperimentPlan]
) -> None:
    movie = SMOKE.read_text(encoding="utf-8").partition("[data.movie]")[2].partition("[data.book]")[0]
    text = "[data.film]" + movie + '[[panels]]\nname = "film"\ndata = "film"\n'
    other = plan_of(write(more="\n" + text))
    (film,) = [job for job in other.jobs.values() if job.name == "film"]
    assert film.key in change().jobs, "a name is no part of a key"
    assert set(plan_of(write()).jobs) < set(plan_of(write(("seeds = [0, 1]", "seeds = [1, 0, 7]"))).jobs)


def test_fewer_seeds_are_the_first_of_every_list(change: Change) -> None:
    before, after = change(), change(seeds=1)
    assert new_jobs(before, after) == []
    assert {cell.seed for panel in after.panels for cell in panel.cells} == {0}
    assert change(seeds=9).jobs.keys() == before.jobs.keys()


def test_a_panel_of_one_seed_asks_for_no_other(change: Change) -> None:
    before = change()
    after = change(('title = "Books, three folds"', "seeds = [0]"))
    seeds = {panel.entry.name: {cell.seed for cell in panel.cells} for panel in after.panels}
    assert seeds == {"movie": {0, 1}, "book": {0}}
    assert new_jobs(before, after) == []
    gone = {before.jobs[key].name for key in set(before.jobs) - set(after.jobs)}
    assert {name for name in of_few_book() if "seed1" in name} <= gone


def cells_of(plan: ExperimentPlan, panel: str, model: str) -> list[Cell]:
    (found,) = [each for each in plan.panels if each.entry.name == panel]
    return [cell for cell in found.cells if cell.model == model]


def test_a_child_starts_from_its_parent_at_the_same_seed(change: Change) -> None:
    plan = change()
    by_output = {job.output: job for job in plan.jobs.values()}
    for cell in cells_of(plan, "movie", "TLRec"):
        for job in cell.trained:
            if job.name.startswith("few-movie"):
                parent = by_output[job.work.parent]  # type: ignore[union-attr]
                assert parent.name == f"full-seed{cell.seed}"
                assert parent.key in job.needs


ORDERS = """
[data.tied]
dataset = "synthetic"
order_seeds = [0, 3]
users = 30

[[stages]]
name = "on-tied"
data = ["tied"]
shots = [8]
selection = "strict-k"

[[panels]]
name = "tied"
data = "tied"
stages = ["on-tied", "full"]
"""


def test_several_orders_are_several_data_sets_and_what_is_trained_on_them_several_models(change: Change) -> None:
    plan = change(more=ORDERS)
    panel = next(panel for panel in plan.panels if panel.entry.name == "tied")
    assert panel.orders == (0, 3)
    assert [job.name for job in panel.data] == ["tied order 0", "tied order 3"]
    assert [job.work.config.order_seed for job in panel.data if isinstance(job.work, PrepareWork)] == [0, 3]
    own, full = (next(cell for cell in panel.cells if cell.model == name) for name in ("on-tied", "TLRec"))
    assert [job.name for job in own.trained] == ["on-tied order 0", "on-tied order 3"]
    assert [job.needs[0] for job in own.scores] == [job.key for job in panel.data]
    assert len(full.trained) == 1
    assert len(full.scores) == 2
    first = change(more=ORDERS, seeds=1)
    assert next(panel for panel in first.panels if panel.entry.name == "tied").orders == (0, 3)


def test_order_seeds_are_named_once(change: Change) -> None:
    for line in ("order_seeds = [0, 0]", "order_seeds = [0, 1]\norder_seed = 1"):
        with pytest.raises(ConfigError, match="order_seed"):
            change(more=ORDERS.replace("order_seeds = [0, 3]", line))


def test_a_model_with_folds_stands_on_other_data_for_its_first(change: Change) -> None:
    plan = change(('stages = ["full", "few-movie"]', 'stages = ["full", "few-movie", "few-book"]'))
    for cell in cells_of(plan, "movie", "TALLRec"):
        assert [job.name for job in cell.trained] == [f"few-book-seed{cell.seed} fold 0"]
        assert len(cell.scores) == 1


def test_comparisons_of_rows_that_are_not_there_are_refused(change: Change) -> None:
    with pytest.raises(ConfigError, match="panel movie, compare; found no row 'Caser'; expected 'GRU-BERT', 'GRU4Rec'"):
        change(('compare = [["TLRec", "GRU4Rec"]]', 'compare = [["TLRec", "Caser"]]'))


def test_a_value_that_comes_twice_is_refused(change: Change) -> None:
    few_book = 'data = ["book"]\nshots = [8]\nseeds = [0, 1]'
    with pytest.raises(ConfigError, match="a value comes twice in shots, seeds"):
        change((few_book, few_book.replace("[8]", "[8, 8]").replace("[0, 1]", "[0, 0]")))
    with pytest.raises(ConfigError, match="two models of seed 1"):
        change(
            ('models = ["gru4rec", "sasrec"]', 'models = ["gru4rec", "gru4rec"]'),
            ("seeds = [0, 1]\nsettings", "seeds = [1]\nsettings"),
        )


def test_two_stages_of_one_name_and_shots_are_refused(change: Change) -> None:
    changes = [('stages = ["full", "few-book"]', 'stages = ["full", "it"]'), ('label = "IT"', 'label = "TLRec"')]
    with pytest.raises(ConfigError, match="panel book, row 'TLRec'; found two stages or entries of that name"):
        change(*changes)


def test_keys_do_not_change_between_versions() -> None:
    """Measured runs are kept under them. Raise GENERATION where results change, and then the keys below."""
    work = CandidatesWork(data="data/x", split="test", negatives=50)
    data = make_job("data", "x", work, [{"seed": 1, "name": "a"}, None, "é", 0.1], ())
    child = make_job("scores", "y", work, ["test", 50], (data, data), suffix=".parquet")
    assert (data.key, child.key) == ("7410f6e14d8a25cf", "f2edfc9b700b2190")
    assert child.output == f"scores/{child.key}.parquet"
    assert child.needs == (data.key,)


def test_shapes_leave_out_seeds_and_folds_but_not_what_is_trained(change: Change) -> None:
    shapes: dict[str, set[str]] = {}
    for job in change().jobs.values():
        shapes.setdefault(job.shape, set()).add(job.name)
    groups = {frozenset(names) for names in shapes.values()}
    assert frozenset({"full-seed0", "full-seed1"}) in groups
    assert frozenset({f"book fold {fold}" for fold in range(3)}) in groups
    assert frozenset({"few-movie-4shot-seed0", "few-movie-4shot-seed1"}) in groups
    assert frozenset({"score full-seed0 on movie", "score full-seed1 on movie"}) in groups
    assert frozenset({f"score GRU4Rec movie 8-shot seed {seed} on movie" for seed in (0, 1)}) in groups
