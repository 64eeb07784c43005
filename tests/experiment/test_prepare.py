"""From a source to a prepared directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recalign.artifacts import read_manifest
from recalign.data.readers import READERS
from recalign.data.samples import SampleSet
from recalign.data.source import read_source
from recalign.data.splitting import SplitConfig, make_table, plan, resolve_protocol
from recalign.errors import ArtifactError, ConfigError, DataError, RecalignError
from recalign.experiment.prepare import PrepareConfig, prepare

Make = Callable[..., Path]

FILES = {
    "samples.parquet",
    "events.parquet",
    "items.parquet",
    "train.jsonl",
    "valid.jsonl",
    "test.jsonl",
    "rejects.jsonl",
    "audit.json",
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def run(name: str = "out", **settings: Any) -> Path:
        return prepare(PrepareConfig.build(output=tmp_path / name, **settings))

    return run


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Ratings of shoes, as a German shop exports them: 12 customers, 8 shoes, a broken row."""
    rows = [f"K{who};S{shoe};{1 + (who * shoe) % 5};{100 + 10 * who + shoe}" for who in range(12) for shoe in range(8)]
    text = "\n".join(["KundenNr;Artikel;Sterne;Zeit", *rows, "K1;S1", ""])
    (tmp_path / "ratings.csv").write_text(text, encoding="utf-8")
    shoes = [f"S{shoe};Läufer {shoe};{50 + shoe}" for shoe in range(8)]
    (tmp_path / "shoes.csv").write_text("\n".join(["Artikel;Name;Preis", *shoes, ""]), encoding="utf-8")
    return tmp_path


SHOP = {
    "columns": {"user_id": "KundenNr", "item_id": "Artikel", "rating": "Sterne", "timestamp": "Zeit"},
    "item_columns": {"item_id": "Artikel", "title": "Name"},
    "like_above": 3,
}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def small(**changes: Any) -> dict[str, Any]:
    return {"dataset": "synthetic", "users": 20, "items": 40, "ratings_per_user": 10, **changes}


def test_a_prepared_directory_holds_samples_renderings_rejects_audit_and_manifest(make: Make) -> None:
    path = make(**small())
    manifest = read_manifest(path, kind="samples")
    assert set(manifest.files) == FILES
    loaded = SampleSet.load(path)
    assert len(loaded.catalog) == 40
    for split in ("train", "valid", "test"):
        rendered = rows_of(path / f"{split}.jsonl")
        samples = loaded.samples(split)
        assert [row["sample_id"] for row in rendered] == [sample.sample_id for sample in samples]
        assert manifest.info["splits"][split]["samples"] == manifest.info["rendered"][split] == len(samples)
        for row, sample in zip(rendered, samples, strict=True):
            assert list(row) == [
                *("sample_id", "instruction", "input", "output", "user_id", "item_id", "label", "history")
            ]
            assert (row["user_id"], row["item_id"], row["label"]) == (sample.user_id, sample.item_id, sample.label)
            assert row["history"] == [
                {"item_id": entry.item_id, "liked": entry.liked, "rating": entry.rating} for entry in sample.history
            ]
            assert loaded.catalog.text(sample.item_id) in row["input"]
    assert json.loads((path / "audit.json").read_text())["findings"]
    assert (path / "rejects.jsonl").read_bytes() == b""
    assert manifest.config["protocol"]["name"] == "leave-one-out"
    assert manifest.config["protocol"]["order"] == "time"
    assert manifest.config["feedback"]["like_above"] == 3
    assert manifest.config["domain"]["noun_plural"] == "movies"
    assert manifest.config["template"] == "default"


def test_the_same_request_gives_the_same_fingerprint_and_the_seed_another(make: Make) -> None:
    first, again, other = (
        read_manifest(make(name, **small(seed=seed))) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.info["request"] == again.info["request"] != other.info["request"]


def test_synthetic_books_are_quoted_with_their_authors(make: Make) -> None:
    loaded = SampleSet.load(make(**small(catalogue="books")))
    assert loaded.domain.noun == "book"
    assert '" written by ' in loaded.catalog.text("b0000")


def test_own_files_with_other_names_separators_and_words(make: Make, shop: Path) -> None:
    path = make(
        dataset="table", input=shop / "ratings.csv", items=shop / "shoes.csv", **SHOP, language="de", noun="Schuh",
        noun_plural="Schuhe", item_text="{title} ({Preis} EUR)", protocol="temporal", max_history=3,
    )  # fmt: skip
    loaded = SampleSet.load(path)
    assert loaded.catalog.text("S3") == "Läufer 3 (53 EUR)"
    row = rows_of(path / "test.jsonl")[0]
    assert "Schuh" in row["instruction"] + row["input"]
    assert row["output"].startswith(("Ja", "Nein"))
    assert loaded.frame()["history"].list.len().max() == 3
    info = loaded.manifest.info
    [ratings] = [account for account in info["accounts"] if account["path"] == "ratings.csv"]
    assert ratings["lines"] == ratings["header"] + ratings["parsed"] + ratings["rejected"] == 98
    assert sum(info["rejects"].values()) == len(rows_of(path / "rejects.jsonl")) == 1
    assert rows_of(path / "rejects.jsonl")[0]["line"] == 98


def test_binary_and_implicit_feedback_from_own_files(make: Make, shop: Path) -> None:
    names = {"user_id": "KundenNr", "item_id": "Artikel", "timestamp": "Zeit"}
    source = {"dataset": "table", "items": shop / "shoes.csv", "item_columns": SHOP["item_columns"]}
    rows = [f"K{who};S{shoe};{shoe};{(who + shoe) % 2}" for who in range(9) for shoe in range(5)]
    (shop / "flags.csv").write_text("\n".join(["KundenNr;Artikel;Zeit;mag", *rows, ""]))
    binary = make("binary", input=shop / "flags.csv", columns={**names, "liked": "mag"}, **source)
    assert SampleSet.load(binary).manifest.config["feedback"]["kind"] == "binary"
    assert SampleSet.load(binary).frame()["label"].n_unique() == 2
    rows = [row.rpartition(";")[0] for row in rows]
    (shop / "events.csv").write_text("\n".join(["KundenNr;Artikel;Zeit", *rows, ""]))
    with pytest.raises(DataError, match="--feedback implicit"):
        make("explicit", input=shop / "events.csv", columns=names, like_above=3, **source)
    implicit = make("implicit", input=shop / "events.csv", columns=names, feedback="implicit", negatives=2, **source)
    frame = SampleSet.load(implicit).frame()
    assert frame["label"].mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize(("flags", "kind"), [((0, 1), "binary"), ((1, 1), "implicit"), ((0, 0), "binary")])
def test_a_threshold_for_flags_is_refused(make: Make, tmp_path: Path, flags: tuple[int, int], kind: str) -> None:
    rows = [f"{who},{item},{flags[(who + item) % 2]},T{item}" for who in range(4) for item in range(who, who + 4)]
    path = tmp_path / "flags.csv"
    path.write_text("\n".join(["user_id,item_id,rating,title", *rows, ""]))
    source: dict[str, Any] = {"dataset": "table", "input": path, "order": "file"}
    with pytest.raises(DataError, match=rf"like_above 0\.5 is for ratings on a scale.*--feedback {kind} instead"):
        make(like_above=0.5, **source)
    assert make(feedback=kind, **source)
    path.write_text(path.read_text() + "9,1,2,T1\n9,2,1,T2\n")
    assert make("scale", like_above=0.5, **source)


ALPACA = {
    "instruction": "Given the user's preference and unpreference, identify whether the user will like the target movie "
    'by answering "Yes." or "No.".',
}


def published(path: Path, rows: int) -> list[dict[str, str]]:
    entries = [
        {
            **ALPACA,
            "input": f'User Preference: "Heat {row} (1995)", "Old, The"\nUser Unpreference: "Bíg Ã\xad {row}"\n'
            f'Whether the user will like the target movie "Target {row % 7}"?',
            "output": "Yes." if row % 3 else "No.",
        }
        for row in range(rows)
    ]
    path.write_text(json.dumps([*entries, {"instruction": "other", "input": "", "output": "Yes."}]))
    return entries


def test_published_files_come_back_byte_for_byte(make: Make, tmp_path: Path) -> None:
    entries = published(tmp_path / "valid.json", 30)
    path = make(dataset="alpaca-json", input=tmp_path / "valid.json", split="0:0:1")
    rendered = rows_of(path / "test.jsonl")
    assert [{key: row[key] for key in ("instruction", "input", "output")} for row in rendered] == entries
    assert (path / "train.jsonl").read_bytes() == b""
    loaded = SampleSet.load(path)
    assert loaded.manifest.config["protocol"]["name"] == "published"
    assert loaded.domain.noun == "movie"
    assert loaded.template == "tallrec"
    assert sum(loaded.manifest.info["rejects"].values()) == 1


def test_published_files_with_bare_answers_are_the_same_samples_by_option(make: Make, tmp_path: Path) -> None:
    entries = published(tmp_path / "valid.json", 30)
    bare = [row | {"output": row["output"].rstrip(".")} for row in entries]
    (tmp_path / "bare.json").write_text(json.dumps(bare))
    with pytest.raises(DataError, match="--bare-answers"):
        make("refused", dataset="alpaca-json", input=tmp_path / "bare.json")
    whole = make("whole", dataset="alpaca-json", input=tmp_path / "valid.json", split="0:0:1")
    taken = make("taken", dataset="alpaca-json", input=tmp_path / "bare.json", split="0:0:1", bare_answers=True)
    assert SampleSet.load(taken).frame().equals(SampleSet.load(whole).frame())
    assert rows_of(taken / "test.jsonl") == rows_of(whole / "test.jsonl")
    assert SampleSet.load(taken).manifest.config["bare_answers"]
    assert "bare_answers" not in SampleSet.load(whole).manifest.config


def test_published_files_are_split_by_row(make: Make, tmp_path: Path) -> None:
    published(tmp_path / "valid.json", 30)
    loaded = SampleSet.load(make(dataset="alpaca-json", input=tmp_path / "valid.json", protocol="tallrec"))
    assert [len(loaded.frame(split)) for split in ("train", "valid", "test")] == [24, 3, 3]
    train = loaded.frame("train")["user_id"].cast(pl.Int64)
    assert train.is_sorted()
    assert train.to_list() != list(range(1, 25))


def test_published_files_in_folds_test_every_row_once(make: Make, tmp_path: Path) -> None:
    published(tmp_path / "valid.json", 31)
    source = {"dataset": "alpaca-json", "input": tmp_path / "valid.json", "seed": 3}
    parts = [SampleSet.load(make(f"fold{fold}", folds=4, fold=fold, **source)) for fold in range(4)]
    assert [len(part.frame("test")) for part in parts] == [8, 8, 8, 7]
    pooled = pl.concat([part.frame("test") for part in parts]).drop("split").sort("sample_id")
    assert pooled["sample_id"].is_unique().all()
    plain = SampleSet.load(make("plain", **source))
    assert pooled.equals(plain.frame().drop("split").sort("sample_id"))
    for fold, part in enumerate(parts):
        following = parts[(fold + 1) % 4]
        assert part.frame("valid").drop("split").equals(following.frame("test").drop("split"))
        described = {"name": "published", "version": 1, "folds": 4, "fold": fold, "seed": 3}
        assert part.manifest.config["protocol"] == described
    assert plain.manifest.config["protocol"] == {"name": "published", "version": 1, "ratios": [8, 1, 1], "seed": 3}
    assert len({part.fingerprint for part in (*parts, plain)}) == 5


def test_ratings_in_folds(make: Make) -> None:
    settings = small(protocol="tallrec-book", order="time", folds=5)
    parts = [SampleSet.load(make(f"fold{fold}", **settings, fold=fold)) for fold in range(5)]
    users = [user for part in parts for user in part.frame("test")["user_id"]]
    assert sorted(users) == sorted(parts[0].frame()["user_id"])
    assert parts[2].manifest.config["protocol"]["fold"] == 2
    assert "ratios" not in parts[2].manifest.config["protocol"]


@pytest.mark.parametrize(
    ("given", "request_of_old"),
    [
        ({}, "0d5a5d6d7bf1a3d0733f1231e1ff08e9fa49c5407e06d8df745b70be8573dc8f"),
        (
            {"protocol": "tallrec-book", "split": "7:1:2", "seed": 4},
            "4f3cb851eadd2372707ea2ed18b150b5ea7ea04d7172c92d2d0599e92b5ce89f",
        ),
        (
            {
                **{"protocol": "tallrec-book", "folds": 5, "fold": 1},
                **{"max_history": 4, "max_rendered": 7, "catalogue": "books"},
            },
            "d464b3cd279a9550560d84c24ef6722cf798dfe24d993b62d494e1626e65985e",
        ),
    ],
)
def test_a_request_keeps_its_fingerprint(given: dict[str, Any], request_of_old: str) -> None:
    """Results are stored under these fingerprints: data that were prepared earlier must not seem to be others."""
    assert PrepareConfig.build(dataset="synthetic", output=Path("x"), **given).request == request_of_old


def test_each_fold_is_another_request() -> None:
    base = {"dataset": "synthetic", "protocol": "tallrec-book"}
    asked = [{}, {"folds": 5}, {"folds": 5, "fold": 1}, {"folds": 6, "fold": 1}]
    assert len({PrepareConfig.build(**base, **each).request for each in asked}) == 4
    assert PrepareConfig.build(**base, folds=5, fold=0).request == PrepareConfig.build(**base, folds=5).request


def test_renderings_can_be_a_seeded_subset(make: Make) -> None:
    whole, part, again = (make(name, **small(max_rendered=n)) for name, n in (("a", None), ("b", 40), ("c", 40)))
    ids = {name: [row["sample_id"] for row in rows_of(whole / f"{name}.jsonl")] for name in ("train", "valid", "test")}
    subset = {name: [row["sample_id"] for row in rows_of(part / f"{name}.jsonl")] for name in ids}
    assert sum(map(len, subset.values())) == 40
    for name in ids:
        assert subset[name] == [one for one in ids[name] if one in set(subset[name])]
        assert subset[name]
        assert (part / f"{name}.jsonl").read_bytes() == (again / f"{name}.jsonl").read_bytes()
    assert SampleSet.load(part).frame().equals(SampleSet.load(whole).frame())


def test_an_existing_output_is_kept_unless_told_otherwise(make: Make) -> None:
    path = make(**small())
    before = read_manifest(path).fingerprint
    with pytest.raises(ArtifactError, match="exists already"):
        make(**small(seed=1))
    assert read_manifest(path).fingerprint == before
    assert read_manifest(make(**small(seed=1, overwrite=True))).fingerprint != before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "movielens-100"}, "unknown dataset 'movielens-100'; .*Did you mean movielens-100k"),
        ({"dataset": "netflix"}, "dataset netflix needs an input path"),
        (
            {"dataset": "table", "input": "x"},
            r"found ratings without a threshold; expected --like-above, for example --like-above 3\.5 \(ratings above ",
        ),
        ({"dataset": "synthetic", "input": "x"}, "dataset synthetic has no use for input"),
        ({"dataset": "netflix", "input": "x", "users": 3}, "dataset netflix has no use for users"),
        ({"dataset": "synthetic", "items": "shoes.csv"}, "items is a number"),
        ({"dataset": "netflix", "input": "x", "items": 4}, "items is a number"),
        (
            {"dataset": "alpaca-json", "input": "x", "like_above": 3, "max_history": 10},
            "no use for like_above, max_history",
        ),
        ({"dataset": "alpaca-json", "input": "x", "protocol": "temporal"}, "has fixed samples, found temporal"),
        ({"dataset": "synthetic", "bare_answers": True}, "dataset synthetic has no use for bare_answers"),
        ({"dataset": "synthetic", "split": "8:1"}, "split: found '8:1'; expected three whole numbers"),
        ({"dataset": "synthetic", "split": "0:0:0"}, "one of them must be positive"),
        ({"dataset": "synthetic", "folds": 2}, "folds: Input should be greater than or equal to 3, found 2"),
        ({"dataset": "synthetic", "folds": 5, "fold": 5}, "found fold 5 of 5 folds; expected 0 to 4"),
        ({"dataset": "synthetic", "fold": 1}, "found fold 1 without folds"),
        ({"dataset": "synthetic", "folds": 5, "split": "8:1:1"}, "folds and split exclude each other"),
        ({"dataset": "synthetic", "order": "upward"}, "order: Input should be 'time', 'file' or 'shuffle', found 'up"),
        ({"dataset": "synthetic", "negatives": 3}, "negatives is for implicit feedback"),
        ({"dataset": "table", "input": "x", "like_above": 3, "columns": {"user": "y"}}, "unknown column 'user'"),
        ({"dataset": "synthetic", "widow": 3, "seed": -1}, r"seed: .*, found -1; widow: unknown key"),
    ],
)
def test_settings_are_checked_before_anything_is_read(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareConfig.build(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "tallrek"}, "Did you mean tallrec"),
        ({"template": "tlrec-cot"}, "kind cot"),
        ({"language": "fr"}, "no wording in the language 'fr'"),
        ({"yes": "Ja.", "no": "Ja."}, "must differ"),
        ({"item_text": "{publisher}"}, "'publisher'"),
        ({"item_text": "{title"}, "item text"),
        ({"protocol": "nearest"}, "protocol 'nearest'"),
        ({"items": 4}, "synthetic data"),
        ({"max_history": 500, "protocol": "tallrec"}, "finds no target"),
        ({"split": "8:1:1"}, "has no proportions"),
        ({"folds": 5}, "protocol leave-one-out has no folds of users"),
        ({"folds": 25, "protocol": "tallrec-book", "order": "time"}, "25 folds; found 20 users with samples"),
    ],
)
def test_a_failure_leaves_nothing_behind(make: Make, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecalignError, match=message) as caught:
        make(**small(**settings))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            ["u,x,5,1", "u,y,5,2", "v,b,good,3"],
            {},
            r"^no usable rating in .*; found 3 rejected rows, most often: unknown item \(2\), rating is not a number "
            r"\(1\); all are listed in .*out\.rejects\.jsonl; expected .*\. Check that both files write item ids alike",
        ),
        (
            ["u,a,5,1", "v,a,good,2", "v,b,good,3", "w,x,4,3"],
            {},
            r"^protocol leave-one-out finds no target; found 3 rejected rows, most often: rating is not a number \(2\),"
            r" unknown item \(1\); all are listed in .*out\.rejects\.jsonl; of the 1 rows left: 1 users, the longest"
            r" with 1 interactions; expected a user with more than 1\. Name the right column: --columns rating=NAME",
        ),
        (
            ["u,a,5,1", "u,b,5,2", "u,c,5,3", "v,x,1,1"],
            {"min_history": 5},
            r"finds no target; found 1 rejected rows, .*; of the 3 rows left: .*Lower --min-history",
        ),
    ],
)
def test_rejected_rows_are_told_first(
    make: Make, tmp_path: Path, rows: list[str], settings: dict[str, Any], message: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "items.csv").write_text("item_id,title\na,A\nb,B\nc,C\n")
    (source / "ratings.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *rows, ""]))
    with pytest.raises(DataError, match=message) as caught:
        make(dataset="table", input=source, like_above=3, **settings)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out.rejects.jsonl"}
    entries = rows_of(tmp_path / "out.rejects.jsonl")
    assert f"{len(entries)} rejected rows" in str(caught.value)
    assert all(entry["source"] == "ratings.csv" for entry in entries)


def test_rejected_rows_of_a_published_file_are_told_first(make: Make, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "valid.json"
    path.write_text(json.dumps([{"instruction": "other", "input": "", "output": "Yes."}] * 3))
    with pytest.raises(DataError, match=r"no row in the form of template 'tallrec'; found 3 rejected rows.*--template"):
        make(dataset="alpaca-json", input=path)
    assert len(rows_of(tmp_path / "out.rejects.jsonl")) == 3


def test_few_rejected_rows_are_not_why(make: Make, shop: Path) -> None:
    with pytest.raises(DataError, match=r"^protocol leave-one-out finds no target; found 12 users"):
        make(dataset="table", input=shop / "ratings.csv", items=shop / "shoes.csv", **SHOP, min_history=50)
    assert not (shop / "out.rejects.jsonl").exists()


def test_prepare_needs_an_output() -> None:
    with pytest.raises(ConfigError, match="--output DIR"):
        prepare(PrepareConfig.build(dataset="synthetic"))


def test_defaults_are_declared_for_every_dataset() -> None:
    for name in READERS.names():
        needed: dict[str, Any] = {} if name == "synthetic" else {"input": "x"}
        if name == "table":
            needed["feedback"] = "implicit"
        config = PrepareConfig.build(dataset=name, **needed)
        assert config.protocol
        assert config.template_name in ("default", "tallrec")


@pytest.mark.real_data
def test_tallrec_movie_files_are_reproduced_byte_for_byte(make: Make, real_data: Path) -> None:
    path = make(dataset="movielens-100k", input=real_data / "ml-100k", protocol="tallrec")
    expected = json.loads((real_data / "tallrec-movie" / "valid.json").read_text(encoding="utf-8"))
    ours = [{key: row[key] for key in expected[0]} for row in rows_of(path / "valid.jsonl")]
    assert ours == expected
    assert len(ours) == 1000
    test = SampleSet.load(path).frame("test")
    assert (len(test), test["user_id"].n_unique()) == (1000, 16)


@pytest.mark.real_data
def test_tallrec_book_file_comes_back_byte_for_byte(make: Make, real_data: Path) -> None:
    source = real_data / "tallrec-book" / "valid.json"
    path = make(dataset="alpaca-json", input=source, split="0:0:1")
    expected = json.loads(source.read_text(encoding="utf-8"))
    ours = [{key: row[key] for key in expected[0]} for row in rows_of(path / "test.jsonl")]
    assert ours == expected
    assert len(ours) == 2427


@pytest.mark.real_data
def test_the_book_users_by_folds(make: Make, real_data: Path) -> None:
    source = real_data / "tallrec-book" / "valid.json"
    parts = [
        SampleSet.load(make(f"fold{n}", dataset="alpaca-json", input=source, folds=5, fold=n)).frame("test")
        for n in range(5)
    ]
    assert [len(part) for part in parts] == [486, 486, 485, 485, 485]
    assert pl.concat(parts)["sample_id"].n_unique() == 2427


@pytest.mark.real_data
def test_movielens_samples_are_made_in_under_a_second(real_data: Path) -> None:
    source = read_source("movielens-100k", real_data / "ml-100k")
    feedback = PrepareConfig.build(dataset="movielens-100k", input="x").feedback_config()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        protocol = resolve_protocol("tallrec", source.interactions)
        make_table(source.interactions, protocol, plan(protocol, SplitConfig(), feedback), feedback).frame()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.8
