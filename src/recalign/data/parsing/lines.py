"""Physical lines of text files, in blocks, each with its number: the ground on which every line is accounted for.

General CSV readers skip, merge or shift malformed rows without a word, so lines are cut here, by line ends alone, and
the formats' own grammars work on whole lines. Knows no format.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Final

import polars as pl

from recalign.data.parsing.accounting import FileTally
from recalign.data.parsing.containers import InputFile
from recalign.errors import ConfigError, DataError

BLOCK_BYTES: Final = 32 * 1024 * 1024
_SNIFF_BYTES: Final = 64 * 1024
_BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ARCHIVES: Final = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
}


Reading = Callable[[Path, int, int], None]
"""Told which file is read, how many bytes of it have been, and of how many."""

_watcher: ContextVar[Reading | None] = ContextVar("watcher of reading", default=None)


@contextmanager
def watched_reading(progress: Reading) -> Iterator[None]:
    """Within the context `progress` is told what is read. Readers are many and deep; none of them passes it on."""
    token = _watcher.set(progress)
    try:
        yield
    finally:
        _watcher.reset(token)


def line_blocks(tally: FileTally, encoding: str = "utf-8", *, block_bytes: int = BLOCK_BYTES) -> Iterator[pl.DataFrame]:
    """Yield the lines of a file in blocks and count them in `tally`.

    Lines end with LF or CRLF; a file that has CR but no LF in its first block ends them with CR.

    Args:
        tally: The file, and the account that the lines are counted in.
        encoding: Any Python encoding. A byte-order mark is dropped.
        block_bytes: How much is read at a time.

    Yields:
        Frames with `line` (Int64, from 1), `text` (String, without line end) and `readable` (Boolean: false for lines
        that do not decode or contain NUL; their text is then a replacement).

    Raises:
        DataError: the file cannot be opened, is empty, is binary or in UTF-16.
        ConfigError: Python does not know the encoding.
    """
    for frame in text_blocks(tally.input, encoding, block_bytes=block_bytes):
        tally.count_lines(frame.height)
        yield frame


def text_blocks(
    source: Path | InputFile, encoding: str = "utf-8", *, block_bytes: int = BLOCK_BYTES
) -> Iterator[pl.DataFrame]:
    """The lines of a file as `line_blocks` yields them, counted in no account: for a look ahead."""
    with _opened(source, encoding) as (head, handle, name):
        first, read = 1, 0
        path, content = (source, source) if isinstance(source, Path) else (source.path, source.content)
        size = content.stat().st_size
        for block, end in _blocks(handle, head, block_bytes):
            frame = _frame(block, end, name, first)
            first += frame.height
            yield frame
            read += len(block)
            if (watcher := _watcher.get()) is not None:
                watcher(path, read, max(size, read))


def read_head(source: Path | InputFile, encoding: str = "utf-8") -> list[str]:
    """Return the complete lines among the first 64 KiB (to find out a dialect), undecodable bytes replaced.

    Raises:
        DataError: as `line_blocks`.
    """
    with _opened(source, encoding) as (head, handle, name):
        whole = not handle.read(1)
    text = head.decode(name, errors="replace")
    text = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
    lines = text.split("\n")
    return lines if whole or len(lines) == 1 else lines[:-1]


def is_utf8(source: Path | InputFile) -> bool:
    """Whether the whole file decodes as UTF-8: the same format came in latin-1 in one year and in UTF-8 in another.

    Raises:
        DataError: as `line_blocks`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(source, "utf-8") as (block, handle, _):
        try:
            while block:
                decoder.decode(block)
                block = handle.read(BLOCK_BYTES)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


@contextmanager
def _opened(source: Path | InputFile, encoding: str) -> Iterator[tuple[bytes, IO[bytes], str]]:
    """The first 64 KiB without a byte-order mark, the file after them, and the encoding of both."""
    path, content = (source, source) if isinstance(source, Path) else (source.path, source.content)
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        found = "a name that Python does not know"
        raise ConfigError(f"encoding {encoding!r}", found=found, expected="e.g. utf-8, latin-1, cp1252") from None
    is_wide = name.startswith(("utf-16", "utf-32"))
    try:
        # A line end is not one byte in wide text: that is decoded in one piece, and read on as UTF-8.
        stream = io.BytesIO(content.read_bytes().decode(name).encode("utf-8")) if is_wide else content.open("rb")
    except UnicodeError as error:
        raise DataError(str(path), found=f"bytes that are not {name}", expected=f"{name} text") from error
    except OSError as error:
        raise DataError(str(path), found=error.strerror or type(error).__name__, expected="a readable file") from error
    with stream as handle:
        head = handle.read(_SNIFF_BYTES)
        _refuse_non_text(path, head)
        is_utf8 = is_wide or name.startswith("utf-8")
        yield (head.removeprefix(codecs.BOM_UTF8), handle, "utf-8") if is_utf8 else (head, handle, name)


def _refuse_non_text(path: Path, head: bytes) -> None:
    if not head:
        raise DataError(
            str(path), found="an empty file", expected="at least one row", hint="Check the download or export"
        )
    for magic, kind in _ARCHIVES.items():
        if head.startswith(magic):
            raise DataError(str(path), found=kind, expected="a text file", hint="Unpack it and give the unpacked path")
    if head[257:262] == b"ustar":
        raise DataError(str(path), found="a tar archive", expected="a text file", hint="Unpack it and give its files")
    if head.startswith(_BYTE_ORDER_MARKS):
        hint = f"Convert it: iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}"
        raise DataError(str(path), found="UTF-16 text", expected="UTF-8 or another encoding of single bytes", hint=hint)
    if b"\0" in head:
        raise DataError(str(path), found="binary data (NUL bytes)", expected="a text file", hint="Check the path")


def _blocks(handle: IO[bytes], head: bytes, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Cut a file into blocks that end at line ends; with each comes the line end."""
    rest = head + handle.read(size)
    end = b"\r" if b"\n" not in rest and b"\r" in rest else b"\n"
    while True:
        cut = rest.rfind(end) + 1
        if cut:
            yield rest[:cut], end
        rest = rest[cut:]
        block = handle.read(size)
        if not block:
            break
        rest += block
    if rest:
        yield rest, end


def _frame(block: bytes, end: bytes, encoding: str, first: int) -> pl.DataFrame:
    body = block.removesuffix(end)
    try:
        text = pl.Series("text", [body.decode(encoding)]).str.split(end.decode()).explode()
        frame = text.to_frame().with_columns(pl.lit(True).alias("readable"))
    except UnicodeDecodeError:
        lines = [_decoded(line, encoding) for line in body.split(end)]
        frame = pl.DataFrame(lines, schema={"text": pl.String, "readable": pl.Boolean}, orient="row")
    frame = frame.with_row_index("line", offset=first).cast({"line": pl.Int64})
    if b"\0" in block:
        frame = frame.with_columns(pl.col("readable") & ~pl.col("text").str.contains("\0", literal=True))
    if end == b"\n" and b"\r" in block:
        frame = frame.with_columns(pl.col("text").str.strip_suffix("\r"))
    return frame


def _decoded(line: bytes, encoding: str) -> tuple[str, bool]:
    try:
        return line.decode(encoding), True
    except UnicodeDecodeError:
        return line.decode(encoding, errors="replace"), False
