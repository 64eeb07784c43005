"""Models behind an index on prepared data: the function that `recalign evaluate --index` and a notebook call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from recalign.artifacts import append_info
from recalign.baselines.factorisation import PREFIX as REFERENCE
from recalign.baselines.factorisation import reference
from recalign.baselines.priors import prior
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError, ConfigError
from recalign.evaluation.evaluate import Demonstrated, Model, load_saved, named_models
from recalign.evaluation.full_ranking import SAID, FullRanking, Progress, rank_full
from recalign.evaluation.rows import TestSettings
from recalign.models.config import Precision
from recalign.retrieval.index import Index
from recalign.scoring.base import Scorer


def retrieve_and_rank(
    models: Sequence[Model],
    data: SampleSet,
    index: Path,
    split: str = "test",
    *,
    retrieve: int = 200,
    precision: Precision = "auto",
    device: str = "auto",
    endpoint: str | None = None,
    settings: TestSettings = TestSettings(),
    progress: Progress | None = None,
) -> FullRanking:
    """Have each model rank what the index retrieves, for each liked target of a split. Arguments as `rank_full`'s.

    Each read of a test split is logged in the manifest of the model's directory.

    Raises:
        ArtifactError: The index is damaged, of another catalogue or of other interactions than those of `data`.
        ConfigError, DataError, ModelError: As `evaluate` and `rank_full`.
    """
    retriever = Index.load(index)
    retriever.check(data.catalog, index, str(data.path))
    made_of = retriever.parents.get("data", data.fingerprint)
    if made_of != data.fingerprint:  # the train split of other data may hold the very targets
        hint = f"recalign index {data.path} --output {index} --overwrite"
        found, expected = f"interactions of data {made_of[:12]}", data.fingerprint[:12]
        raise ArtifactError(f"index {index}", found=found, expected=expected, hint=hint)
    wanted = named_models(models, endpoint)
    scorers = {name: _scorer(model, data, split, precision, device, endpoint) for name, model in wanted.items()}
    found_ranking = rank_full(retriever, scorers, data, split, retrieve=retrieve, settings=settings, progress=progress)
    for name, model in wanted.items():
        if isinstance(model, Path) and split == "test":
            time = datetime.now(UTC).isoformat(timespec="seconds")
            entry = {"time": time, "model": name, "data": data.fingerprint, "n": found_ranking.targets}
            append_info(model, "test_reads", {**entry, "candidates": SAID})
    return found_ranking


def _scorer(
    model: Model, data: SampleSet, split: str, precision: Precision, device: str, endpoint: str | None
) -> Scorer:
    if isinstance(model, Path):
        return load_saved(model, data, precision=precision, device=device, endpoint=endpoint)
    if isinstance(model, str):
        return reference(model, data, split) if model.startswith(REFERENCE) else prior(model, data)
    if isinstance(model, Demonstrated):
        raise ConfigError(f"model {model.name}", found="a language model in context", expected="a scorer")
    return model
