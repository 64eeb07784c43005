"""Making an index of what lies in a directory, or bringing one up to date: what `recalign index` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recalign.artifacts import MANIFEST_NAME, already, find_finished, read_manifest
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import KIND as PREPARED
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError, ConfigError
from recalign.retrieval.index import KIND, Index, build_index, catalogue_hash
from recalign.retrieval.retrievers import RETRIEVERS

if TYPE_CHECKING:
    from recalign.baselines.text_encoder import TextEncoder


def make_index(
    source: Path,
    output: Path,
    *,
    text_encoder: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    also: Sequence[str] = (),
    update: bool = False,
    overwrite: bool = False,
    note: Callable[[str], None] = lambda text: None,
    progress_for: Callable[[str], Callable[[int, int], None]] = lambda name: lambda done, total: None,
) -> Index:
    """Write an index of prepared data, or of a model's catalogue, to `output`.

    Args:
        source: A prepared directory, or that of a tuned model (or of a run with one model).
        output: The index.
        text_encoder: Local directory or hub id of an encoder; adds text vectors.
        revision: Hub revision of it.
        device: Where the encoder runs: "auto", "cpu" or "cuda".
        also: Names of retrievers of other packages to add.
        update: Keep the index in `output`, and only bring it to the catalogue of `source`: items that are gone go, and
            of new ones the texts are read. Interactions and weights stay as they are.
        overwrite: Replace an index that is there.
        note: Told, in one line, where `output` is what would be made, and is left as it is.
        progress_for: The callback for the progress of what has that name: "texts" that are encoded, "weights".

    Raises:
        ArtifactError: `source` is neither, `output` is taken or (with `update`) no index, or another text encoder.
        ConfigError: `source` is a run with several models, new texts need the text encoder, a retriever cannot be made,
            or retrievers are named with `update`.
        DataError: The train split of the data has no samples.
        ModelError: The text encoder cannot be loaded.
    """
    if update and also:
        hint = "Make the index anew, with --overwrite."
        raise ConfigError("--update", found="--retriever", expected="the retrievers that it has", hint=hint)
    found = _source(source)
    encoder = _encoder(text_encoder, revision, device)
    if encoder is not None:
        encoder.progress = progress_for("texts")
    if update:
        index = Index.load(output).over(found.catalog if isinstance(found, SampleSet) else found, encoder)
    elif _is_made(output, found, encoder, also, overwrite):
        note(already("indexed", output))
        return Index.load(output)
    else:
        index = build_index(found, encoder=encoder, also=also, progress=progress_for("weights"))
    index.write(output, overwrite=update or overwrite)
    return index


def _is_made(
    output: Path, source: SampleSet | ItemCatalog, encoder: TextEncoder | None, also: Sequence[str], overwrite: bool
) -> bool:
    """Whether `output` is the index that these inputs make; see `find_finished`, which also says what is refused."""
    parents = {"data": source.fingerprint} if isinstance(source, SampleSet) else {}
    if encoder is not None:
        parents["text_encoder"] = encoder.fingerprint
    config = {"catalogue": catalogue_hash(source.catalog if isinstance(source, SampleSet) else source)}
    info = {"also": sorted(set(also) - set(RETRIEVERS.built_in_names()))}
    return find_finished(output, KIND, config=config, parents=parents, info=info, replace=overwrite) is not None


def _source(directory: Path) -> SampleSet | ItemCatalog:
    if (directory / MANIFEST_NAME).exists() and read_manifest(directory, verify=False).kind == PREPARED:
        return SampleSet.load(directory)
    from recalign.tuning.model_artifact import KIND as MODEL  # loads torch
    from recalign.tuning.model_artifact import load_catalog, model_directory

    directory = model_directory(directory)
    kind = read_manifest(directory, verify=False).kind
    if kind != MODEL:
        raise ArtifactError(f"{directory}", found=f"kind {kind!r}", expected="prepared data or a tuned model")
    return load_catalog(directory)


def _encoder(name: str | None, revision: str | None, device: str) -> TextEncoder | None:
    if name is None:
        return None
    from recalign.baselines.text_encoder import TextEncoder

    return TextEncoder(name, revision, device=device)
