"""Pipes and compressed files: read once, recognised by their content, and never more than allowed."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.data.archives import Limits
from recalign.data.parsing.containers import is_stream, opened
from recalign.errors import ArtifactError, DataError

Write = Callable[..., Path]
CONTENT = b"user_id,item_id\nu,a\n"


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def pipe_with(path: Path, content: bytes) -> Path:
    """A named pipe through which the content comes once."""
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    return path


@pytest.mark.parametrize(
    ("name", "content", "inner"),
    [
        ("r.csv", CONTENT, "r.csv"),
        ("r.csv.gz", gzip.compress(CONTENT), "r.csv"),
        ("download", gzip.compress(CONTENT), "download"),
        ("r.csv.gz", CONTENT, "r.csv.gz"),
        ("r.gz", gzip.compress(CONTENT[:9]) + gzip.compress(CONTENT[9:]), "r"),
        ("r.zip", zipped({"sub/": b"", "sub/r.tsv": CONTENT}), "r.tsv"),
        ("r.csv", zipped({"r.tsv": CONTENT, "__MACOSX/._r.tsv": b"x", ".DS_Store": b"x", "README.md": b"x"}), "r.tsv"),
    ],
    ids=range(7),  # archives hold the time at which they were made, so names of tests must not hold archives
)
@pytest.mark.parametrize("through_pipe", [False, True])
def test_what_is_inside_comes_out_plain(
    tmp_path: Path, write: Write, name: str, content: bytes, inner: str, through_pipe: bool
) -> None:
    path = pipe_with(tmp_path / name, content) if through_pipe else write(name, content)
    with opened(path) as file:
        assert file.path == path
        assert file.content.name == inner
        assert file.content.read_bytes() == file.content.read_bytes() == CONTENT
        assert file.sha256 == (hashlib.sha256(content).hexdigest() if through_pipe else None)
        kept = file.content
    assert kept.exists() == (kept == path)


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with opened(write("r.gz", gzip.compress(CONTENT))) as file:
        assert file.content.is_relative_to(scratch)
    with pytest.raises(DataError), opened(write("r.gz", gzip.compress(CONTENT)[:-9])):
        pass
    assert list(scratch.iterdir()) == []


def test_a_temporary_folder_that_is_not_there(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("r.gz", gzip.compress(CONTENT))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ArtifactError, match=r"the temporary folder; found No such file.*TMPDIR"), opened(path):
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(CONTENT)[:-9], r"a damaged one.*whole gzip or zip"),
        (gzip.compress(CONTENT) + b"garbage", r"a damaged one"),
        (gzip.compress(CONTENT)[:-8] + b"\0" * 8, r"a damaged one.*CRC"),
        (zipped({"r.csv": CONTENT})[:40], r"a damaged one"),
        (zipped({}), r"no file in it"),
        (
            zipped({"ratings.csv": CONTENT, "items.csv": CONTENT, "README": b""}),
            r"2 files in it: ratings.csv, items.csv",
        ),
        (zipped({"a": CONTENT, "b": CONTENT}), r"2 files in it: a, b; expected one table\. Unpack it"),
        (zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), r"an Excel workbook.*CSV"),
        (zipped({"/r.csv": CONTENT}), r"absolute or malformed path"),
    ],
    ids=range(9),
)
def test_damaged_and_ambiguous_archives_are_refused(write: Write, content: bytes, words: str) -> None:
    path = write("r.csv", content)
    with pytest.raises(DataError, match=rf"{path}.*{words}"), opened(path):
        pass


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: zipped({"r.csv": content})])
def test_bombs_are_refused(write: Write, pack: Callable[[bytes], bytes]) -> None:
    path = write("r.csv", pack(b"a" * 3_000_000))
    with pytest.raises(DataError, match="not a bomb"), opened(path, Limits(free_bytes=1000)):
        pass
    with pytest.raises(DataError, match="more than 1,000 bytes"), opened(path, Limits(total_bytes=1000)):
        pass


def test_standard_input_is_a_stream_even_where_it_is_a_file(tmp_path: Path) -> None:
    assert is_stream(Path("/dev/stdin"))
    assert is_stream(Path("/dev/null"))
    assert not is_stream(tmp_path)
    assert not is_stream(Path(__file__))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="readable file"), opened(path):
            pass
