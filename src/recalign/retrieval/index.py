"""`Index`: the fused retriever of a catalogue as an artefact (kind ``index``), what `recalign index` writes.

::

    items.parquet              the catalogue
    popularity.safetensors     the arrays of each retriever, under its name
    …
    manifest.json              weights, hash of the catalogue; fingerprints of the data and of the text encoder

An index made of a model has the retrievers that need no interactions, because a model's directory has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recalign.artifacts import Json, Manifest, fingerprint, read_manifest, write_directory
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import ITEMS_FILE, Sample, SampleSet
from recalign.data.schema import HistoryEntry
from recalign.errors import ArtifactError
from recalign.retrieval.base import EVERYTHING_UNSEEN, Candidates, Filters
from recalign.retrieval.fused import Choice, Fused, choose_weights
from recalign.retrieval.interactions import interactions_of
from recalign.retrieval.retrievers import RETRIEVERS, Material, StoredRetriever, fit_retrievers
from recalign.retrieval.retrievers.bm25 import BM25
from recalign.retrieval.retrievers.text import TextVectors
from recalign.retrieval.stock import Stock
from recalign.seeding import generator

if TYPE_CHECKING:
    from recalign.baselines.text_encoder import TextEncoder

KIND: Final = "index"
MAX_CASES: Final = 1000  # validation targets that weights are chosen by


@dataclass(frozen=True)
class Index:
    """Retrievers of one catalogue, fused; itself a `Retriever`.

    Attributes:
        stock: The items.
        retrievers: Those that it consists of.
        choice: Their weights, and what these were chosen by.
        parents: Fingerprints of the data and of the text encoder, where there are such.
    """

    stock: Stock
    retrievers: tuple[StoredRetriever, ...]
    choice: Choice
    parents: dict[str, str]

    name = "index"

    @property
    def catalog(self) -> ItemCatalog:
        """The items that it retrieves from."""
        return self.stock.catalog

    def retrieve(self, history: Sequence[HistoryEntry], k: int, filters: Filters = EVERYTHING_UNSEEN) -> Candidates:
        """See `Retriever`."""
        return Fused(self.retrievers, self.choice.weights).retrieve(history, k, filters)

    def similarity(self, item_ids: Sequence[str]) -> NDArray[np.float32]:
        """How alike items are, shape (n, n), 1 on the diagonal: cosines of text vectors or, without, of BM25 words."""
        places = self.stock.places(item_ids)
        held = {retriever.name: retriever for retriever in self.retrievers}
        kind = held.get(TextVectors.name, held[BM25.name])
        if not isinstance(kind, TextVectors | BM25):
            raise TypeError(f"{kind.name} compares no items")
        return kind.similarity(places)

    def over(self, catalog: ItemCatalog, encoder: TextEncoder | None = None) -> Index:
        """The index of another catalogue: items that are gone go, new ones are added, what is known stays.

        Only new texts are read. `encoder` is needed where there are text vectors and new texts.

        Raises:
            ConfigError: New texts need the text encoder.
            ArtifactError: It is another encoder than the one that the index was made with.
        """
        if encoder is not None and "text_encoder" in self.parents:
            hint = "Name the one that the index was made with."
            _same("the text encoder", encoder.fingerprint, self.parents["text_encoder"], hint)
            for retriever in self.retrievers:
                if isinstance(retriever, TextVectors):
                    retriever.encode = encoder.mean_vectors
        stock = Stock(catalog)
        return replace(self, stock=stock, retrievers=tuple(retriever.over(stock) for retriever in self.retrievers))

    def check(self, catalog: ItemCatalog, directory: Path, source: str) -> None:
        """Refuse a catalogue that is not the index's: its items, and what is written about them.

        Raises:
            ArtifactError: It is another one. The message has the command that brings `directory` to it.
        """
        hint = f"Bring the index to it: recalign index {source} --output {directory} --update"
        _same(f"the catalogue of index {directory}", catalogue_hash(self.catalog), catalogue_hash(catalog), hint)

    def write(self, directory: Path, *, overwrite: bool = False) -> Manifest:
        """Write the artefact. Raises ArtifactError where `directory` is taken or cannot be written."""
        config: Json = {
            "retrievers": [retriever.name for retriever in self.retrievers],
            "weights": dict(self.choice.weights),
            "catalogue": catalogue_hash(self.catalog),
        }
        info: Json = {"items": len(self.catalog), "recall_at_100": dict(self.choice.recall), "cases": self.choice.cases}
        info["also"] = sorted({retriever.name for retriever in self.retrievers} - set(RETRIEVERS.built_in_names()))
        packages = {retriever.name: RETRIEVERS.package_of(retriever.name) for retriever in self.retrievers}
        if any(packages.values()):
            info["packages"] = {name: package for name, package in packages.items() if package}
        with write_directory(
            directory, KIND, config=config, parents=self.parents, info=info, overwrite=overwrite
        ) as staging:
            self.catalog.write(staging / ITEMS_FILE)
            for retriever in self.retrievers:
                retriever.write(staging)
        return read_manifest(directory, kind=KIND, verify=False)

    @classmethod
    def load(cls, directory: Path) -> Index:
        """Read what `write` wrote.

        Raises:
            ArtifactError: It is missing, incomplete or altered, or a retriever of it is not installed.
            ConfigError: A retriever cannot be imported.
        """
        manifest = read_manifest(directory, kind=KIND)
        _check_installed(directory, manifest)
        stock = Stock(ItemCatalog.read(directory / ITEMS_FILE))
        retrievers = tuple(RETRIEVERS.find(name).read(directory, stock) for name in manifest.config["retrievers"])
        choice = Choice(manifest.config["weights"], manifest.info["recall_at_100"], manifest.info["cases"])
        return cls(stock, retrievers, choice, manifest.parents)


def build_index(
    source: SampleSet | ItemCatalog,
    *,
    encoder: TextEncoder | None = None,
    users: frozenset[str] | None = None,
    also: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Index:
    """Make the retrievers of a catalogue and choose their weights.

    Args:
        source: Prepared data, whose train split says who met what and whose validation split decides on the weights;
            or a catalogue alone, of which only the texts are read.
        encoder: Adds text vectors.
        users: Whose interactions are read; all by default.
        also: Names of retrievers of other packages to add.
        seed: Draws the validation targets where there are more than a thousand.
        progress: Told how many validation targets have been asked about, of how many.

    Raises:
        DataError: The train split of the data has no samples.
        ConfigError: See `fit_retrievers`.
    """
    stock = Stock(source.catalog if isinstance(source, SampleSet) else source)
    material, parents = Material(stock), dict[str, str]()
    if isinstance(source, SampleSet):
        material = replace(material, interactions=interactions_of(source, stock, users))
        parents["data"] = source.fingerprint
    if encoder is not None:
        material = replace(material, encode=encoder.mean_vectors)
        parents["text_encoder"] = encoder.fingerprint
    retrievers = fit_retrievers(material, also)
    cases = _cases(source, seed) if isinstance(source, SampleSet) else []
    return Index(stock, tuple(retrievers), choose_weights(retrievers, cases, progress), parents)


def catalogue_hash(catalog: ItemCatalog) -> str:
    """SHA-256 of the ids and of what retrievers read of each item."""
    return fingerprint([catalog.ids, Stock(catalog).texts])


def _cases(data: SampleSet, seed: int) -> list[Sample]:
    """Liked validation targets, at most `MAX_CASES` of them."""
    liked = [sample for sample in data.samples("valid") if sample.label == 1]
    chosen = generator(seed, "index", "validation").permutation(len(liked))[:MAX_CASES]
    return [liked[place] for place in sorted(chosen)]


def _check_installed(directory: Path, manifest: Manifest) -> None:
    """Refuse an index with retrievers that are not there, and name the package that has them."""
    packages = manifest.info.get("packages", {})
    for name in manifest.config["retrievers"]:
        if name not in RETRIEVERS.names():
            package = packages.get(name, "")
            hint = f"Install it: pip install {package}" if package else "Install the package that has it."
            found = f"the retriever {name} of package {package or '(not known)'}, which is not installed"
            raise ArtifactError(f"index {directory}", found=found, expected=", ".join(RETRIEVERS.names()), hint=hint)


def _same(thing: str, found: str, expected: str, hint: str) -> None:
    if found != expected:
        raise ArtifactError(thing, found=f"another one ({found[:12]})", expected=expected[:12], hint=hint)
