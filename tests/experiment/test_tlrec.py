"""TLRec from one file: teacher, curriculum, rec-tuning and shots, on generated data in the real formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.data.samples import SampleSet
from recalign.experiment.recipe import Recipe, load_recipe
from recalign.experiment.runner import Run, tune_recipe
from recalign.seeding import generator

RECIPES = Path(__file__).parent.parent.parent / "recipes"
REVIEWS = "Id,Title,Price,User_id,profileName,review/helpfulness,review/score,review/time,review/summary,review/text\n"
BOOKS = "Title,description,authors,image,previewLink,publisher,publishedDate,infoLink,categories,ratingsCount\n"
CROSSING = (
    '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"\r\n'
)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both data sets: readers of two tastes, books of two kinds."""
    folder = tmp_path_factory.mktemp("books")
    draw = generator(0, "tests", "tlrec")
    for name, users in (("amazon-books", 40), ("bookcrossing", 30)):
        (folder / name).mkdir()
        rows = []
        for user in range(users):
            for time, book in enumerate(draw.permutation(30)[:14]):
                rows.append((user, int(book), 5 if book % 2 == user % 2 else 2, 900_000_000 + 1000 * time))
        if name == "amazon-books":
            titles = [f"Tale {book} of {'Stars' if book % 2 else 'Ships'}" for book in range(30)]
            reviews = "".join(
                f'B{book:03},{titles[book]},,A{user},"Some, body",1/1,{score}.0,{at},Nice,"Text"\n'
                for user, book, score, at in rows
            )
            table = "".join(
                f"{title},Text,['Writer {book % 5}'],,,House,1999,,['Fiction'],1.0\n"
                for book, title in enumerate(titles)
            )
            (folder / name / "Books_rating.csv").write_text(REVIEWS + reviews, encoding="utf-8")
            (folder / name / "books_data.csv").write_text(BOOKS + table, encoding="utf-8")
        else:
            ratings = "".join(f'"{user}";"{book:010}";"{2 * score}"\r\n' for user, book, score, _ in rows)
            table = "".join(
                f'"{book:010}";"Story {book}";"Author {book % 4}";"1999";"House";"s";"m";"l"\r\n' for book in range(30)
            )
            header = '"User-ID";"ISBN";"Book-Rating"\r\n'
            (folder / name / "BX-Book-Ratings.csv").write_text(header + ratings, encoding="latin-1")
            (folder / name / "BX-Books.csv").write_text(CROSSING + table, encoding="latin-1")
    return folder


def small(recipe: Recipe) -> Recipe:
    """The recipe with a backbone, a teacher and stages of seconds; its data, stages and their order stay."""
    nano = {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 32, "vocabulary": 1200, "steps": 2, "row_tokens": 64}
    changes = {
        "batch_size": 4,
        "max_steps": 1,
        "eval_steps": 1,
        "precision": "fp32",
        "shots_grid": (4,),
        "seeds": (0,),
        "holdout": 0.3,
        "lm_weight": 0.0,
    }
    content = recipe.model_dump()
    content["backbone"]["device"] = "cpu"
    content["backbone"]["nano"] |= {**nano, "batch_tokens": 512, "instructions": 10}
    content["teachers"]["heuristic"] |= {"similar_users": 5, "size": 8, "recommend": 4, "filter": "valid-only"}
    for stage in content["stages"]:
        own = (
            dict(changes)
            if stage["shots_grid"]
            else {k: v for k, v in changes.items() if k not in ("shots_grid", "seeds")}
        )
        stage |= own
        if stage["sampling"]["targets_per_history"] > 1:
            stage["sampling"]["targets_per_history"] = 4
    return Recipe.model_validate(content)


@pytest.fixture(scope="module")
def run(books: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_DATA", str(books))
        recipe = load_recipe(RECIPES / "tlrec-book.toml")
    return tune_recipe(small(recipe), tmp_path_factory.mktemp("tlrec"))


def test_amazon_books_to_bookcrossing(run: Run) -> None:
    assert list(run.models) == ["cot", "full", "few-shot-4shot-seed0"]
    source, target = run.data["source"], run.data["target"]
    assert source.manifest.config["dataset"] == "amazon-books"
    assert target.manifest.config["dataset"] == "bookcrossing"
    manifests = {name: read_manifest(path, kind="model") for name, path in run.models.items()}
    assert manifests["cot"].config["stage"]["curriculum"] == "ordered"
    assert manifests["full"].parents["parent"] == manifests["cot"].fingerprint
    seen = {name: set(one.config["labels_seen"]) for name, one in manifests.items()}
    assert seen["cot"] == seen["full"] == {source.fingerprint}, "zero-shot: no label of the target"
    assert seen["few-shot-4shot-seed0"] == {source.fingerprint, target.fingerprint}
    assert manifests["few-shot-4shot-seed0"].config["labels_seen"][target.fingerprint]["train"] == 4


def test_what_the_teacher_wrote_is_kept_and_found_again(run: Run, books: Path, cache: Path) -> None:
    output = run.models["cot"].parent.parent
    written = read_manifest(output / "cot" / "heuristic", kind="cot")
    before = (output / "cot" / "heuristic" / "stage1.jsonl").stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_DATA", str(books))
        again = tune_recipe(small(load_recipe(RECIPES / "tlrec-book.toml")), output)
    assert again.models == run.models
    assert (output / "cot" / "heuristic" / "stage1.jsonl").stat().st_mtime_ns == before
    assert read_manifest(again.models["cot"], kind="model").parents["cot"] == written.fingerprint


def test_a_staged_curriculum_is_three_models(run: Run, books: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_DATA", str(books))
        recipe = small(load_recipe(RECIPES / "tlrec-book.toml"))
    content = recipe.model_dump()
    content["stages"] = [content["stages"][0] | {"curriculum": "staged"}]
    content["evaluations"] = []
    staged = tune_recipe(Recipe.model_validate(content), tmp_path / "run")
    models = {path.name: read_manifest(path, kind="model") for path in sorted((tmp_path / "run" / "models").iterdir())}
    assert list(models) == ["cot", "cot-stage1-only", "cot-stage2-only"]
    assert list(staged.models) == ["cot"]
    assert models["cot"].config["stage"]["curriculum"] == "stage3-only"
    assert models["cot"].parents["parent"] == models["cot-stage2-only"].fingerprint
    assert SampleSet.load(staged.data["source"].path).fingerprint == run.data["source"].fingerprint
