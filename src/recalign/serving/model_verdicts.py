"""Whether a model beats what needs no learning, for whoever sees what it recommends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from recalign.artifacts import read_manifest
from recalign.evaluation import sentences
from recalign.evaluation.verdicts import ModelVerdict, kept_verdict, verdict_of
from recalign.experiment.results import RESULTS_FILE, Results
from recalign.serving.models import named_directory
from recalign.serving.schemas import ToldVerdict
from recalign.tuning.model_artifact import model_directory

_UNKNOWN: Final = (
    "Not evaluated: nobody has looked whether this model beats what needs no learning. "
    "The command for that: recalign evaluate MODEL --data DATA."
)


def find_verdict(run: str, data: Path | None) -> ModelVerdict | None:
    """What `recalign evaluate` kept in a model, or else what the run of an experiment says of it.

    Args:
        run: Directory of the model, or NAME=DIRECTORY.
        data: Prepared data that the verdict is to be about; by default it is about any.

    Raises:
        ArtifactError: The model, the data or the results of the run are damaged.
    """
    directory = model_directory(Path(named_directory(run)[1]))
    fingerprint = None if data is None else read_manifest(data, verify=False).fingerprint
    return kept_verdict(directory, fingerprint) or _in_run(directory, fingerprint)


def told_verdicts(names: Iterable[str], runs: Sequence[str], data: Path | None) -> dict[str, ToldVerdict]:
    """What a page says of each of its models, by name: the verdict as a sentence, or how to come by one.

    Args:
        names: The names that `load_models` gave to `runs`, in the same order.
        runs, data: See `find_verdict`.

    Raises:
        ArtifactError: As `find_verdict`.
    """
    return {name: _told(find_verdict(run, data)) for name, run in zip(names, runs, strict=True)}


def _told(verdict: ModelVerdict | None) -> ToldVerdict:
    if verdict is None:
        return ToldVerdict(evaluated=False, text=_UNKNOWN)
    return ToldVerdict(evaluated=True, text=sentences.model_verdict(verdict), prior=verdict.verdict.prior)


def _in_run(directory: Path, fingerprint: str | None) -> ModelVerdict | None:
    """The verdict on one seed of a model that lies in ``models`` of an experiment's run; of several seeds none."""
    run = directory.absolute().parent.parent
    if directory.absolute().parent.name != "models" or not (run / RESULTS_FILE).is_file():
        return None
    for panel in Results.read(run).panels:
        data = panel.fingerprints
        if panel.split == "test" and len(data) == 1 and fingerprint in (None, *data):
            for row in panel.plain_rows:
                if (row.model, len(row.seeds)) == (directory.name, 1):
                    return verdict_of(row, panel, data[0])
    return None
