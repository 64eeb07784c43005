"""nano learns from titles and unlabelled sequences, is made once, and is an ordinary checkpoint afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.data.domain import Domain
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.models.nano import EOS
from recalign.testing.data import write_sample_set
from recalign.tuning.backbones.nano import KIND, Corpus, _chunks, build_nano, cache_directory, train_tokenizer
from recalign.tuning.loop import StepReport

TINY = NanoConfig(
    hidden=32, layers=1, heads=2, intermediate=32, vocabulary=400, steps=3, batch_tokens=256, row_tokens=64
)


@pytest.fixture(scope="module")
def corpus(source: SampleSet, target: SampleSet) -> Corpus:
    return build(source, target)


def build(source: SampleSet, target: SampleSet, seed: int = 0) -> Corpus:
    movies, books = source.domain, target.domain
    users = [list(source.catalog.ids[start : start + 12]) for start in range(0, 24, 6)]
    catalogs = [(movies, source.catalog), (books, target.catalog)]
    return Corpus.build(catalogs, [(movies, source.catalog, users)], instructions=20, seed=seed)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def built(corpus: Corpus, cache: Path) -> Path:
    return build_nano(TINY, corpus, cache=cache, precision="fp32")


def test_the_text_has_every_title_each_sequence_twice_and_no_answer_about_a_user(
    corpus: Corpus, source: SampleSet, target: SampleSet
) -> None:
    text = "\n".join(corpus.lines)
    for data in (source, target):
        assert all(data.catalog.title(item) in text for item in data.catalog.ids)
    sequences = [line for line in corpus.lines if line.startswith("Movies a user has watched, in order:")]
    assert len(sequences) == 2 * 4
    first, shuffled = (line.split("\n")[1:] for line in sequences[:2])
    assert sorted(first) == sorted(shuffled)
    assert len(first) == 12
    assert "whether the user will" not in text.lower(), "the question of the task is not asked"


def test_the_text_depends_on_the_seed(corpus: Corpus, source: SampleSet, target: SampleSet) -> None:
    assert build(source, target) == corpus
    assert build(source, target, seed=1) != corpus


def test_what_is_built_is_a_checkpoint_that_saw_no_label(built: Path, cache: Path) -> None:
    manifest = read_manifest(built, kind=KIND)
    assert manifest.info["labels_seen"] == {}
    loaded = load_backbone(BackboneConfig(name=str(built), device="cpu"))
    assert loaded.max_positions == TINY.max_positions >= 2048
    assert built.parent == cache
    assert [path.name for path in cache.iterdir() if path.name.endswith("checkpoints")] == []


def test_it_is_built_once_per_configuration_and_corpus(
    built: Path, corpus: Corpus, cache: Path, source: SampleSet, target: SampleSet
) -> None:
    def forbidden(report: StepReport) -> None:
        raise AssertionError("it comes from the cache")

    assert build_nano(TINY, corpus, cache=cache, precision="fp32", progress=forbidden) == built
    for config, text in ((TINY.model_copy(update={"seed": 1}), corpus), (TINY, build(source, target, seed=1))):
        with pytest.raises(AssertionError):
            build_nano(config, text, cache=cache, precision="fp32", progress=forbidden)


def test_the_same_inputs_give_the_same_bytes_and_so_does_going_on(tmp_path: Path, built: Path, corpus: Corpus) -> None:
    class Stop(Exception):
        pass

    def halt(report: StepReport) -> None:
        raise Stop

    with pytest.raises(Stop):
        build_nano(TINY, corpus, cache=tmp_path, precision="fp32", progress=halt)
    assert not any(path.name.startswith("nano") for path in tmp_path.iterdir()), "no partial backbone"
    again = build_nano(TINY, corpus, cache=tmp_path, precision="fp32")
    assert again.name == built.name
    assert read_manifest(again).files == read_manifest(built).files


def test_a_damaged_cache_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    config = TINY.model_copy(update={"steps": 1})
    path = build_nano(config, corpus, cache=tmp_path, precision="fp32") / "model.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(bytes(blob))
    with pytest.raises(ArtifactError, match=r"model\.safetensors"):
        build_nano(config, corpus, cache=tmp_path, precision="fp32")


def test_control_tokens_in_titles_are_text(tmp_path: Path) -> None:
    titles = {str(place): f"Part {place} {EOS}" for place in range(6)}
    catalog = write_sample_set(tmp_path / "data", titles, {}).catalog
    corpus = Corpus.build([(Domain(), catalog)], [], instructions=0, seed=0)
    tokenizer = train_tokenizer(corpus.lines, 400)
    chunks = _chunks(corpus.lines, tokenizer, TINY.model_copy(update={"row_tokens": 32}))
    ends = sum(chunk.ids.count(int(tokenizer.eos_token_id)) for chunk in chunks)
    assert ends <= len(corpus.lines), "one end per line at most"


def test_text_in_a_language_that_not_every_template_has(tmp_path: Path) -> None:
    domain = Domain(noun="Schuh", noun_plural="Schuhe", language="de", yes="Ja", no="Nein")
    catalog = write_sample_set(tmp_path / "data", {str(place): f"Stiefel {place}" for place in range(6)}, {}).catalog
    words = Corpus.build([(domain, catalog)], [], instructions=4, seed=0).tokenizer_lines
    assert any("Ja" in line and "Schuh" in line for line in words), "the German wordings are there"
    assert not any("User Preference" in line for line in words), "tallrec has English words only"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RECALIGN_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/recalign"),
        ({"HOME": "/home/x"}, "/home/x/.cache/recalign"),
    ],
)
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    for name in ("RECALIGN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(expected)
