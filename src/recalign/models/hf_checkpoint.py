"""Checkpoint directories: finding one (locally or through the hub's cache) and judging it before anything is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

from recalign.artifacts import fingerprint, hash_file
from recalign.errors import ModelError, did_you_mean_path
from recalign.models.released import RELEASES, find_release, release_directory

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
# What goes with the weights wherever they go: how text becomes tokens, how text is generated, terms of use.
_COMPANIONS = (
    *(*_TOKENIZER_FILES, "*.model", "vocab*", "*.jinja", "*.tiktoken"),
    *("generation_config.json", "LICENSE*", "NOTICE*"),
)
_STATED_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license:[ \t]*([^\s#]+)")
# Nothing executable is even downloaded: no pickles, no Python.
_PATTERNS: Any = {
    "allow_patterns": [
        *("*.json", "model*.safetensors", "tokenizer*", "vocab*", "merges.txt", "*.jinja", "*.tiktoken"),
        *("README.md", "LICENSE*", "NOTICE*"),
    ],
    "ignore_patterns": ["*/*", "*.py", *(f"*{suffix}" for suffix in _PICKLED)],
}
# Its bases are OSError and the root of the HTTP client's errors (which client that is depends on the hub's version).
_NETWORK_ERRORS: tuple[type[BaseException], ...] = HfHubHTTPError.__bases__
_HUB_SECONDS = 10.0
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Checkpoint:
    """A directory that holds a loadable causal language model, called `name` by the user.

    `config` is the content of ``config.json``, `weights` names the safetensors files.
    """

    directory: Path
    name: str
    config: Mapping[str, object]
    weights: tuple[str, ...]

    @property
    def weight_bytes(self) -> int:
        return sum((self.directory / name).stat().st_size for name in self.weights)

    def fingerprint(self) -> str:
        """SHA-256 over the config (less the version of its writer) and the hashes of weights and tokenizer files."""
        of_writer = ("transformers_version", "_name_or_path")
        config = {key: value for key, value in self.config.items() if key not in of_writer}
        others = [name for name in (*_TOKENIZER_FILES, WEIGHTS_INDEX) if (self.directory / name).is_file()]
        files = {name: hash_file(self.directory / name) for name in (*self.weights, *others)}
        return fingerprint({"config": config, "files": files})

    def companions(self) -> list[Path]:
        """Files to copy with the weights: tokenizer, chat template, settings of generation, texts of the licence."""
        paths = {path for pattern in _COMPANIONS for path in self.directory.glob(pattern)}
        return sorted(path for path in paths if path.is_file())

    def licence(self) -> str | None:
        """The licence that the head of its ``README.md`` names, e.g. ``apache-2.0``; None where none is named."""
        card = self.directory / "README.md"
        stated = _STATED_LICENCE.match(card.read_text(encoding="utf-8")) if card.is_file() else None
        return stated[1].strip("\"'") if stated else None


def locate(name: str, revision: str | None) -> tuple[Path, str | None]:
    """The directory of a backbone and, for a hub id, the commit it is at; of a cached one the network is not asked.

    Raises:
        ModelError: no such directory, a release that was not fetched yet (see `find_release`), or a hub id that is
            neither cached nor to be had from the hub.
    """
    if name in RELEASES and revision is None:
        return find_release(name), None
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ModelError(f"revision {revision!r}", found=f"{name}, a local directory", expected="a hub id with it")
        return path, None
    if path.exists():
        raise ModelError(f"backbone {name}", found="a file", expected="a checkpoint directory or a hub id")
    if name == "nano":
        raise ModelError("backbone nano", found="no checkpoint", expected="it to be built first (see build_nano)")
    if not _HUB_ID.fullmatch(name) or name.endswith((".safetensors", ".gguf", ".bin")):
        expected, hint = "a checkpoint directory or a hub id", did_you_mean_path(path)
        raise ModelError(f"backbone {name}", found="no such directory", expected=expected, hint=hint)
    directory = _cached(name, revision) or _download(name, revision)
    return directory, directory.name


def find_local(name: str, revision: str | None) -> Path | None:
    """Where a backbone lies on this machine; None where it has to be fetched first."""
    if name in RELEASES:
        directory = release_directory(name)
    else:
        directory = Path(name).expanduser()
        if not directory.is_dir() and _HUB_ID.fullmatch(name):
            return _cached(name, revision)
    return directory if directory.is_dir() else None


def _cached(name: str, revision: str | None) -> Path | None:
    try:
        directory = Path(snapshot_download(name, revision=revision, local_files_only=True, **_PATTERNS))
    except LocalEntryNotFoundError:
        return None
    # A snapshot that other programs fetched in part is completed by a download.
    complete = (directory / "config.json").is_file() and _weights(directory)
    return directory if complete and any((directory / tokenizer).is_file() for tokenizer in _TOKENIZER_FILES) else None


def _download(name: str, revision: str | None) -> Path:
    shown = name if revision is None else f"{name} at revision {revision}"
    try:
        # The download sets no time limit, so a network that swallows packets would hang it: ask first.
        HfApi().model_info(name, revision=revision, timeout=_HUB_SECONDS)
        # By the name of the revision, not its commit: so the cache remembers what the name stood for.
        return Path(snapshot_download(name, revision=revision, **_PATTERNS))
    except GatedRepoError as error:
        hint = "Accept its licence on its hub page, then log in: hf auth login."
        raise ModelError(f"backbone {shown} is gated", hint=hint) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"backbone {name}", found=f"no revision {revision!r} on the hub") from error
    except RepositoryNotFoundError as error:
        found = "neither a local directory nor a public model on the hub"
        hint = "Check the name; for a private one: hf auth login."
        raise ModelError(f"backbone {shown}", found=found, hint=hint) from error
    except _NETWORK_ERRORS as error:
        wanted = f"hf download {name}" + (f" --revision {revision}" if revision else "")
        raise ModelError(
            f"backbone {shown} is neither a local directory nor in the hub's local cache, and cannot be downloaded",
            found=_reason(error),
            hint=f"With a network run: {wanted}; without one pass a local checkpoint directory, or --backbone nano.",
        ) from error


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    if isinstance(cause, OfflineModeIsEnabled):
        return "offline mode (HF_HUB_OFFLINE)"
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0][:200]}" if lines else type(cause).__name__


def inspect_checkpoint(directory: Path, name: str) -> Checkpoint:
    """Judge a checkpoint directory by its files alone.

    Raises:
        ModelError: it is an adapter, has no (valid) ``config.json``, an architecture that transformers does not have,
            or no complete safetensors weights.
    """
    if (directory / "adapter_config.json").exists():
        found, hint = (
            "an adapter (adapter_config.json)",
            "Pass the base model as the backbone, the adapter as the parent.",
        )
        raise ModelError(f"backbone {name}", found=found, expected="a base model", hint=hint)
    config = _read_json(directory / "config.json", name)
    _check_architecture(config, name)
    weights = _weights(directory)
    pickled = sorted(path.name for path in directory.iterdir() if path.suffix in _PICKLED)
    if not weights and pickled:
        raise ModelError(
            f"backbone {name}",
            found=f"pickled weights only ({pickled[0]}), which run code when they are opened",
            expected="safetensors",
            hint="Use a revision with safetensors, or convert it with save_pretrained where you trust its source.",
        )
    if not weights:
        raise ModelError(f"backbone {name}", found=f"no {WEIGHTS} in {directory}", expected="safetensors weights")
    for weight in weights:
        if PurePath(weight).name != weight or not (directory / weight).is_file():
            raise ModelError(f"backbone {name} is incomplete", found=f"no file {weight}", hint="Download it again.")
    return Checkpoint(directory, name, config, weights)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        hint = "A checkpoint directory is what save_pretrained writes."
        raise ModelError(f"backbone {name}", found=f"no {path.name} in {path.parent}", hint=hint) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"backbone {name}: cannot read {path}", found=str(error)) from error
    if not isinstance(document, dict):
        raise ModelError(f"backbone {name}: {path}", found=type(document).__name__, expected="a JSON object")
    return document


def _check_architecture(config: Mapping[str, object], name: str) -> None:
    model_type = config.get("model_type")
    known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
    if known and CONFIG_MAPPING[model_type] in MODEL_FOR_CAUSAL_LM_MAPPING:
        return
    found = f"model_type {model_type!r}"
    if config.get("auto_map"):
        hint = "recalign never runs code from a checkpoint: use a model that transformers supports natively."
        raise ModelError(f"backbone {name} needs remote code", found=found, hint=hint)
    reason = "is no causal language model" if known else "has an architecture that the installed transformers lacks"
    raise ModelError(f"backbone {name} {reason}", found=found, hint="" if known else "Upgrade transformers.")


def _weights(directory: Path) -> tuple[str, ...]:
    """Names of the safetensors files that make up the model, in the order of preference of transformers."""
    if (directory / WEIGHTS).is_file():
        return (WEIGHTS,)
    if not (directory / WEIGHTS_INDEX).is_file():
        return ()
    shards = _read_json(directory / WEIGHTS_INDEX, directory.name).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise ModelError(f"backbone {directory}: {WEIGHTS_INDEX}", found="no weight_map", hint="Download it again.")
    return tuple(sorted(set(shards.values())))
