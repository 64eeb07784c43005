"""Score files: what a model said about each sample or candidate, and all that metrics and tests may read."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import polars as pl

from recalign.artifacts import write_file_atomic
from recalign.data.schema import FORMAT_VERSION, SCORES
from recalign.errors import ArtifactError

_METADATA_PREFIX: Final = "recalign."


@dataclass(frozen=True)
class Temperature:
    """What log-odds are divided by, above 0; or None, and the reason why there is nothing to divide by."""

    value: float | None = None
    reason: str = ""


_NO_TEMPERATURE: Final = Temperature(reason="the score file was written without one")


@dataclass(frozen=True)
class ScoreFile:
    """Scores of one model on one split.

    Attributes:
        frame: Columns of `schema.SCORES`, and `label_mass` in [0, 1] where the scorer is a language model.
        log_odds: Whether `score` holds log-odds of "liked", or only an order.
        split: The split that was scored.
        data: Fingerprint of the prepared data.
        candidates: Fingerprint of the ranking candidates where there is a row per candidate; "" where per sample.
        temperature: What calibrated figures divide the log-odds by. The scores themselves are as the model gave them.
        precision: The arithmetic that was asked for; see `recalign.models.precision`.
    """

    frame: pl.DataFrame
    log_odds: bool
    split: str
    data: str
    candidates: str = ""
    temperature: Temperature = _NO_TEMPERATURE
    precision: str = "auto"

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically; the other attributes and the format version go into its metadata."""
        metadata = {
            "format_version": str(FORMAT_VERSION),
            "log_odds": "true" if self.log_odds else "false",
            "split": self.split,
            "data": self.data,
            "candidates": self.candidates,
            "temperature": "" if self.temperature.value is None else repr(self.temperature.value),
            "no_temperature": self.temperature.reason,
            "precision": self.precision,
        }
        buffer = io.BytesIO()
        self.frame.write_parquet(buffer, metadata={_METADATA_PREFIX + key: value for key, value in metadata.items()})
        write_file_atomic(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote. A file from before temperatures were kept has none.

        Raises:
            ArtifactError: The file is missing, no score file, damaged, or of a newer format.
        """
        where = f"score file {path}"
        try:
            stored = pl.read_parquet_metadata(path)
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtifactError(where, found=str(error), expected="a readable Parquet file") from error
        metadata = {key.removeprefix(_METADATA_PREFIX): value for key, value in stored.items()}
        needed = ("format_version", "log_odds", "split", "data")
        missing = [name for name in SCORES if name not in frame.columns]
        if absent := [*missing, *(key for key in needed if key not in metadata)]:
            raise ArtifactError(where, found=f"no {', '.join(absent)}", expected="a file written by `evaluate`")
        if metadata["format_version"] != str(FORMAT_VERSION):
            raise ArtifactError(
                where,
                found=f"format version {metadata['format_version']}",
                expected=str(FORMAT_VERSION),
                hint="It was written by another version of recalign; run `recalign evaluate` again.",
            )
        return cls(
            frame,
            metadata["log_odds"] == "true",
            metadata["split"],
            metadata["data"],
            metadata.get("candidates", ""),
            _temperature(metadata, where),
            metadata.get("precision", "auto"),
        )


def _temperature(metadata: dict[str, str], where: str) -> Temperature:
    stored = metadata.get("temperature", "")
    if not stored:
        return Temperature(reason=metadata.get("no_temperature") or _NO_TEMPERATURE.reason)
    try:
        return Temperature(float(stored))
    except ValueError:
        raise ArtifactError(where, found=f"temperature {stored!r}", expected="a number") from None
