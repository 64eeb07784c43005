"""What an evaluation says of one model, kept in the model's manifest for whoever shows the model later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from recalign.artifacts import append_info, read_manifest
from recalign.errors import ArtifactError
from recalign.evaluation.document import Difference, Document, Panel, Row, Verdict
from recalign.evaluation.metric import deciding
from recalign.evaluation.panel import best_prior

WIDEST: Final = 0.1  # interval of a difference, for metrics in [0, 1]: what is better by half of that goes unnoticed
MORE_SAMPLES: Final = (
    "To ask about more items of the same users, add --protocol leave-n-out --holdout 10 to the prepare command, give "
    "it another --output, and tune on that."
)
_LOG: Final = "verdicts"  # key of the manifest's `info`


class ModelVerdict(Document):
    """A model against the best prior of its panel, by the first metric over samples that decides: AUC.

    Attributes:
        time: When, in ISO 8601 and UTC; "" where the run of an experiment says so.
        data: Fingerprint of the prepared data.
        data_name: Its name.
        users: Users of the test samples that were scored.
        metric: Heading of the metric.
        value: The model's.
        prior_value: That of the best prior; its name is `verdict.prior`.
    """

    time: str
    data: str
    data_name: str
    users: int
    metric: str
    value: float
    prior_value: float
    verdict: Verdict


def too_few(difference: Difference) -> bool:
    """Whether there are too few samples to judge: the interval holds zero, and is undefined or wider than `WIDEST`.

    Models that are worth comparing differ by a few hundredths of AUC, which such an interval says nothing about.
    """
    if difference.outcome != "open" or difference.interval is None:
        return difference.interval is None
    low, high = difference.interval
    return high - low > WIDEST


def more_samples(panel: Panel, protocol: str) -> str:
    """How the same users give more samples, where a model has too few and their `protocol` asks for one each; or ""."""
    (name, _), *_ = deciding("samples")
    few = any(too_few(row.verdicts[name]) for row in panel.plain_rows if name in row.verdicts)
    return MORE_SAMPLES if few and protocol == "leave-one-out" else ""


def verdict_of(row: Row, panel: Panel, data: str, time: str = "") -> ModelVerdict | None:
    """What a panel says of one of its rows; None where it says nothing. `data` is the fingerprint of its data."""
    (name, metric), *_ = deciding("samples")
    prior = best_prior(panel.rows, name, higher_is_better=metric.higher_is_better)
    value, best = row.mean(name), prior.mean(name) if prior else None
    if name not in row.verdicts or value is None or best is None:
        return None
    return ModelVerdict(
        time=time, data=data, data_name=panel.data, users=panel.n_users, metric=metric.heading, value=value,
        prior_value=best, verdict=row.verdicts[name],
    )  # fmt: skip


def keep_verdicts(panel: Panel, directories: Mapping[str, Path]) -> None:
    """Append to the manifest of each model what a panel of test samples says of it.

    `directories` has the directories of the models by the names of their rows. Another split says nothing of a model
    that may have been selected on it.

    Raises:
        ArtifactError: A directory holds no artefact, or cannot be written.
    """
    if panel.split != "test":
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for row in panel.plain_rows:
        if row.model in directories and (verdict := verdict_of(row, panel, panel.fingerprints[0], now)):
            append_info(directories[row.model], _LOG, verdict)


def kept_verdict(directory: Path, data: str | None = None) -> ModelVerdict | None:
    """The verdict over most users in a model's manifest, the latest of several; None where there is none.

    `data` is the fingerprint of the data that it is to be about; by default it is about any.

    Raises:
        ArtifactError: `directory` holds no artefact, or verdicts of another form.
    """
    entries = read_manifest(directory, verify=False).info.get(_LOG, [])
    try:
        verdicts = [ModelVerdict.model_validate(entry) for entry in entries]
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        hint = "Another version of recalign evaluated the model: use that one."
        raise ArtifactError(f"verdicts in {directory}", found=f"another form ({field})", hint=hint) from None
    fitting = [verdict for verdict in verdicts if data in (None, verdict.data)]
    return max(reversed(fitting), key=lambda verdict: verdict.users, default=None)
