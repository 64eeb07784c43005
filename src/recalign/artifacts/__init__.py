"""Self-describing directories that survive crashes and notice damage.

An artefact is a directory of plain files plus ``manifest.json``, which names its kind, its configuration, the
fingerprints of what it was made from and the SHA-256 of every file. The manifest is written last and the directory
appears under its name by one rename, so what is there is complete. No pickle anywhere.

Files beside the manifest that it does not list (append-only logs, notes) are allowed and ignored: they are neither
verified nor part of the fingerprint, and they go with the directory when it is overwritten.

POSIX only (``fcntl`` locks). On kill, crash or power loss the previous complete artefact or the new one is there;
what a dead process left lying is swept by the next write to the same target.
"""

from __future__ import annotations

from recalign.artifacts.directory import check_free, write_directory
from recalign.artifacts.finished import already, differences, find_finished
from recalign.artifacts.manifest import (
    MANIFEST_NAME,
    Json,
    Manifest,
    append_info,
    fingerprint,
    hash_file,
    read_manifest,
)
from recalign.artifacts.storage import io, locked, storage_errors, write_file_atomic

__all__ = [
    "MANIFEST_NAME",
    "Json",
    "Manifest",
    "already",
    "append_info",
    "check_free",
    "differences",
    "find_finished",
    "fingerprint",
    "hash_file",
    "io",
    "locked",
    "read_manifest",
    "storage_errors",
    "write_directory",
    "write_file_atomic",
]
