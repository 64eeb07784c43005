"""``recalign_adapter.json``: what an adapter is and which backbone it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from recalign.errors import ModelError
from recalign.models.config import LoraSettings

Mode = Literal["lora", "full"]
RECORD = "recalign_adapter.json"


class Ancestor(BaseModel):
    """An adapter that another one was started from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    weights: str


class AdapterRecord(BaseModel):
    """Content of ``recalign_adapter.json``.

    Attributes:
        mode: What was trained.
        backbone: The backbone's hub id, or the name of its directory; for reading only, it is never followed. No
            path: the same run in another place gives the same bytes.
        revision: Its hub commit.
        base_fingerprint: `Backbone.fingerprint` of it: the adapter loads on no other.
        lora: Settings with resolved targets; None in mode ``full``.
        weights: SHA-256 of the weights file.
        base_weights: SHA-256 of ``base.safetensors``: the full weights that the LoRA sits on instead of the backbone's.
        ancestors: The adapters it was continued from, the oldest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    mode: Mode
    backbone: str
    revision: str | None
    base_fingerprint: str
    lora: LoraSettings | None
    weights: str
    base_weights: str | None
    ancestors: tuple[Ancestor, ...]


def read_record(directory: Path) -> AdapterRecord:
    """Read ``recalign_adapter.json``.

    Raises:
        ModelError: there is none, or none that this version understands.
    """
    path = directory / RECORD
    try:
        return AdapterRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{directory} is no adapter of recalign", found=f"no {RECORD} in it") from error
    except OSError as error:
        raise ModelError(f"cannot read {path}", found=error.strerror or type(error).__name__) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise ModelError(f"{path} is no adapter record", found=f"{field}: {first['msg']}") from error
