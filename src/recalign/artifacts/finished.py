"""The one rule about work that is done already, for every command that makes an artefact.

The same command again, with the same settings and inputs, says that it is done and changes nothing. With others it is
refused, and the message names the option that replaces what is there. With that option it is made anew in any case.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from recalign.artifacts.directory import check_free
from recalign.artifacts.manifest import MANIFEST_NAME, Manifest, plain, read_manifest
from recalign.errors import ArtifactError

_SHOWN: Final = 3  # differences in a message


def find_finished(
    target: Path,
    kind: str,
    *,
    config: object = None,
    parents: Mapping[str, str] | None = None,
    derived: Collection[str] = (),
    info: Mapping[str, object] | None = None,
    replace: bool = False,
    option: str = "--overwrite",
) -> Manifest | None:
    """What stands at `target`, if these settings and inputs made it; None where it is to be made.

    Args:
        target: Where the artefact is to appear.
        kind: Its kind.
        config: Entries that its manifest's `config` would have: all of them, or those that are known beforehand.
        parents: All of its parents.
        derived: Names of parents that follow from the others, so that they need no comparison.
        info: Entries of its `info`. None stands for what cannot be compared, such as a pipe, and is equal to nothing.
        replace: Whether the user asked to replace what is there.
        option: The option that asks for it, for the message.

    Raises:
        ArtifactError: Something else is there and is not to be replaced, or it is damaged.
    """
    if not os.path.lexists(target) or replace or not (target / MANIFEST_NAME).is_file():
        check_free(target, kind, replace, option)
        return None
    manifest = read_manifest(target)
    changes = differences(manifest, kind, config=config, parents=parents, derived=derived, info=info)
    if not changes:
        return manifest
    shown = "; ".join(changes[:_SHOWN]) + (f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else "")
    raise ArtifactError(
        f"{target} exists already",
        found=f"what was made from other inputs or settings ({shown})",
        hint=f"Choose another output, or pass {option} to replace it.",
    )


def differences(
    manifest: Manifest,
    kind: str,
    *,
    config: object = None,
    parents: Mapping[str, str] | None = None,
    derived: Collection[str] = (),
    info: Mapping[str, object] | None = None,
) -> list[str]:
    """In what an artefact was made otherwise, as ``name: old -> new``. Arguments are those of `find_finished`."""
    inputs = {name: value for name, value in manifest.parents.items() if name not in derived}
    changes = [*_changes(manifest.kind, kind, "kind"), *_changes(inputs, dict(parents or {}), "")]
    for part, there in ((config, manifest.config), (info, manifest.info)):
        for name, wanted in plain(part or {}).items():
            unknown = part is info and wanted is None
            changes += [f"{name}: not comparable"] if unknown else _changes(there.get(name), wanted, name)
    return changes


def already(done: str, target: Path) -> str:
    """The line that says so; `done` is the participle of what the command does: "already prepared …"."""
    return f"already {done} from these inputs and settings: {target}"


def _changes(there: object, wanted: object, path: str) -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        for name in sorted({*there, *wanted}):
            yield from _changes(there.get(name), wanted.get(name), f"{path}.{name}" if path else name)
    elif wanted != there:
        yield f"{path}: {_short(there)} -> {_short(wanted)}"


def _short(value: object, most: int = 24) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= most else f"{text[:most]}…"
