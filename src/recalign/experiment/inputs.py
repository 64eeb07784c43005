"""What a data set is prepared from: its fingerprint, whether that has been done already, and how far it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from recalign.artifacts import Json, find_finished, fingerprint, hash_file
from recalign.data.samples import KIND
from recalign.errors import DataError
from recalign.experiment.prepare_config import PrepareConfig
from recalign.experiment.progress import Progress, Reporter

_GENERATED: Final = "generated"
_MEGABYTE: Final = 1_000_000


def input_fingerprint(path: Path) -> str:
    """Hash of a file, or of all files of a directory with their names.

    Raises:
        DataError: It is not there, or cannot be read.
    """
    try:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        if not files:
            raise DataError(f"input {path}", found="no file", expected="a data set", hint="Check the path.")
        return fingerprint([[str(file.relative_to(path.parent)), hash_file(file).sha256] for file in files])
    except OSError as error:
        raise DataError(f"input {path}", found=error.strerror or str(error), expected="readable files") from None


def request_of(config: PrepareConfig) -> Json:
    """Settings and input of prepared data, as its manifest's info has them under `request` and `input`.

    `input` is None where it cannot be read twice (a pipe), or is not there: then nothing is equal to it.
    """
    template = Path(config.template) if config.template and config.template.endswith(".toml") else None
    files = [path for path in (config.input, config.items, template) if isinstance(path, Path)]
    lasting = all(path.is_file() or path.is_dir() for path in files)
    content = [input_fingerprint(path) for path in files] if lasting else None
    return {"request": config.request, "input": None if content is None else fingerprint([_GENERATED, *content])}


def is_prepared(config: PrepareConfig, request: Json) -> bool:
    """Whether the output is what this request makes; see `find_finished`, which also says what is refused."""
    assert config.output is not None
    return find_finished(config.output, KIND, info=request, replace=config.overwrite) is not None


def reading_progress(reporter: Reporter) -> Callable[[Path, int, int], None]:
    """Progress of what is read, file after file, for `recalign.data.parsing.lines.watched_reading`."""
    shown: dict[Path, Progress] = {}

    def show(path: Path, done: int, total: int) -> None:
        if path not in shown:
            shown[path] = reporter.task(f"reading {path.name}", "MB")
        shown[path](done // _MEGABYTE, max(1, total // _MEGABYTE), "")

    return show
