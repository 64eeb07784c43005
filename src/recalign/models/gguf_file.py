"""What a GGUF file says about itself, and whether all of it is there; read with the package ``gguf`` (an extra)."""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recalign.errors import ModelError

MAGIC: Final = b"GGUF"
# What the reader raises where the bytes end too early or are not what the header says.
_READ_ERRORS: Final = (ValueError, IndexError, KeyError, OverflowError, TypeError, MemoryError, struct.error, OSError)


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """The part of a GGUF file's metadata that decides how it is imported.

    Attributes:
        architecture: llama.cpp's name of the network, e.g. "llama" or "gemma3".
        name: What its maker calls it; empty where it does not say.
        licence: An identifier such as "apache-2.0"; None where it does not say.
        quantisation: How most weights are stored, e.g. "Q4_1" or "F16"; "unknown" where it does not say.
        tokenizer: Kind of tokenizer: "gpt2" is byte-level BPE, "llama" is SentencePiece.
        pre_tokenizer: How byte-level BPE cuts text first, e.g. "smollm"; empty where it does not say.
        tensors: Names of its tensors.
    """

    architecture: str
    name: str
    licence: str | None
    quantisation: str
    tokenizer: str
    pre_tokenizer: str
    tensors: tuple[str, ...]


def require_gguf(work: str) -> None:
    """Raise a ModelError where the packages that read GGUF are not installed."""
    missing = [package for package in ("gguf", "accelerate") if importlib.util.find_spec(package) is None]
    if missing:
        hint = "Install it: pip install 'recalign[gguf]'."
        raise ModelError(f"{work} needs the package {missing[0]}", hint=hint)


def read_facts(file: Path) -> GgufFacts:
    """Read the metadata, and check that the file holds every tensor it names.

    Raises:
        ModelError: The package ``gguf`` is not installed; there is no such file, or it is no GGUF file, or a damaged or
            truncated one, or one of several parts.
    """
    require_gguf(f"import of {file}")
    _check_magic(file)
    import gguf

    try:
        reader = gguf.GGUFReader(file)
        fields = {name: _value(reader, name) for name in _SINGLE}
        needed = max((tensor.data_offset + tensor.n_bytes for tensor in reader.tensors), default=0)
        names = tuple(tensor.name for tensor in reader.tensors)
    except _READ_ERRORS as error:
        raise _damaged(file, f"{type(error).__name__} while reading it") from error
    if (size := file.stat().st_size) < needed:
        raise _damaged(file, f"{size:,} bytes, expected {needed:,}")
    if (fields["split.count"] or 1) > 1:
        hint = "Merge them first: llama-gguf-split --merge FIRST OUTPUT."
        raise ModelError(f"{file} is one part of several", found=f"{fields['split.count']} parts", hint=hint)
    return GgufFacts(
        architecture=fields["general.architecture"] or "",
        name=fields["general.name"] or "",
        licence=fields["general.license"],
        quantisation=_quantisation(fields["general.file_type"]),
        tokenizer=fields["tokenizer.ggml.model"] or "",
        pre_tokenizer=fields["tokenizer.ggml.pre"] or "",
        tensors=names,
    )


_SINGLE: Final = (
    "general.architecture",
    "general.name",
    "general.license",
    "general.file_type",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "split.count",
)


def _check_magic(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            start = stream.read(len(MAGIC))
    except OSError as error:
        raise ModelError(f"cannot read {file}", found=error.strerror or type(error).__name__) from error
    if start != MAGIC:
        raise ModelError(f"{file} is no GGUF file", found=f"{start!r} at its start", expected=repr(MAGIC))


def _value(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _quantisation(file_type: int | None) -> str:
    import gguf

    known = {int(kind): str(kind.name) for kind in gguf.LlamaFileType}
    name = known.get(-1 if file_type is None else file_type, "unknown")
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def _damaged(file: Path, found: str) -> ModelError:
    return ModelError(f"{file} is damaged or cut short", found=found, hint="Fetch the file again.")
