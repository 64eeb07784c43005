"""TLRec from one file: teacher, curriculum, rec-tuning and shots, on generated data in the real formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.data.samples import SampleSet
from recalign.experiment.run import ExperimentRun, run_experiment
from recalign.seeding import generator

SHIPPED = Path(__file__).parents[2] / "experiments" / "tlrec-book.toml"
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


# The shipped file's data, stages and their order, with a backbone, a teacher and stages of seconds.
SMALL = """
include = ["{shipped}"]

[backbones.tiny]
name = "nano"
device = "cpu"
sources = ["source"]
targets = ["target"]

[backbones.tiny.nano]
hidden = 32
layers = 1
heads = 2
intermediate = 32
vocabulary = 1200
steps = 2
row_tokens = 64
batch_tokens = 512
instructions = 10

[teachers.quick]
extend = "heuristic"
similar_users = 5
size = 8
recommend = 4
filter = "valid-only"

[[stages]]
name = "small-cot"
extend = "cot"
teacher = "quick"
backbones = ["tiny"]
batch_size = 4
max_steps = 1
precision = "fp32"

[[stages]]
name = "small-full"
extend = "full"
parent = "small-cot"
backbones = ["tiny"]
batch_size = 4
max_steps = 1
eval_steps = 1
precision = "fp32"
holdout = 0.3
lm_weight = 0.0
sampling = {{ targets_per_history = 4 }}

[[stages]]
name = "small-few"
extend = "few-shot"
parent = "small-full"
backbones = ["tiny"]
shots = 4
seeds = 0
batch_size = 4
max_steps = 1
precision = "fp32"

[[panels]]
name = "small"
data = "target"
stages = ["small-cot", "small-full", "small-few"]
zero_shot = ["small-cot", "small-full"]
resamples = 100
"""


def run_small(folder: Path, books: Path, **changes: str) -> ExperimentRun:
    """Run the small file in a folder with a store, its text after the shipped panel's changed."""
    # the shipped panel goes, so that the shipped stages are not run
    shipped = (
        SHIPPED.read_text(encoding="utf-8").partition("[[panels]]")[0].replace('"common-', f'"{SHIPPED.parent}/common-')
    )
    lines = [line for line in shipped.splitlines() if not line.startswith("# ")]
    (folder / "book.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = SMALL.format(shipped="book.toml")
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "small.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_DATA", str(books))
        return run_experiment(folder / "small.toml", folder / "run")


@pytest.fixture(scope="module")
def run(books: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentRun]:
    folder = tmp_path_factory.mktemp("tlrec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_CACHE", str(folder / "cache"))
        yield run_small(folder, books)


def data_of(run: ExperimentRun) -> tuple[SampleSet, SampleSet]:
    source, target = (SampleSet.load(run.directory / "data" / name) for name in ("source", "target"))
    return source, target


def test_amazon_books_to_bookcrossing(run: ExperimentRun) -> None:
    assert run.failures == 0
    assert [path.name for path in reversed(run.models)] == ["small-cot", "small-full", "small-few"]
    source, target = data_of(run)
    assert source.manifest.config["dataset"] == "amazon-books"
    assert target.manifest.config["dataset"] == "bookcrossing"
    manifests = {path.name: read_manifest(path, kind="model") for path in run.models}
    assert manifests["small-cot"].config["stage"]["curriculum"] == "ordered"
    assert manifests["small-full"].parents["parent"] == manifests["small-cot"].fingerprint
    seen = {name: set(manifest.config["labels_seen"]) for name, manifest in manifests.items()}
    assert seen["small-cot"] == seen["small-full"] == {source.fingerprint}, "zero-shot: no label of the target"
    assert seen["small-few"] == {source.fingerprint, target.fingerprint}
    assert manifests["small-few"].config["labels_seen"][target.fingerprint]["train"] == 4


def test_what_the_teacher_wrote_is_kept_and_found_again(run: ExperimentRun, books: Path) -> None:
    path = run.directory / "cot" / "quick"
    written = read_manifest(path, kind="cot")
    before = (path / "stage1.jsonl").stat().st_mtime_ns
    again = run_small(run.directory.parent, books)
    assert {outcome.status for outcome in again.outcomes.values()} == {"found"}
    assert (path / "stage1.jsonl").stat().st_mtime_ns == before
    assert read_manifest(run.directory / "models" / "small-cot", kind="model").parents["cot"] == written.fingerprint


@pytest.mark.slow
def test_a_staged_curriculum_is_three_models(run: ExperimentRun, books: Path) -> None:
    changes = {
        'teacher = "quick"': 'teacher = "quick"\ncurriculum = "staged"',
        'stages = ["small-cot", "small-full", "small-few"]': 'stages = ["small-cot"]',
        ', "small-full"]': "]",
    }
    staged = run_small(run.directory.parent, books, **changes)
    folder = staged.directory / "models"
    models = {path.name: read_manifest(path, kind="model") for path in sorted(folder.iterdir())}
    assert list(models) == ["small-cot", "small-cot-stage1-only", "small-cot-stage2-only"]
    assert [path.name for path in staged.models] == ["small-cot"]
    assert models["small-cot"].config["stage"]["curriculum"] == "stage3-only"
    assert models["small-cot"].parents["parent"] == models["small-cot-stage2-only"].fingerprint
