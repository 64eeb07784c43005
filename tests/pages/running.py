"""Runs the commands of a page: in an empty directory, without a network, with a home of its own."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .blocks import ROOT, kits, programs
from .blocks import script as script_of

HERE: Final = Path(__file__).parent
LIMIT: Final = 600  # seconds for one page or kit
# A network of its own, with nothing but the loopback interface: no page reaches another one's server, or the world.
_ALONE: Final = ("unshare", "--map-root-user", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


@functools.cache
def alone() -> tuple[str, ...]:
    """What stands before a command that gets no network; nothing where the kernel does not let us."""
    try:
        allowed = subprocess.run([*_ALONE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return _ALONE if allowed else ()


def environment(place: Path, page: str) -> dict[str, str]:
    """Nothing of this shell but the interpreter: no keys, no caches, no settings."""
    home = place / ".home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(home),
        "PAGE": page,
        "REPOSITORY": str(ROOT),
        "BASH_ENV": str(HERE / "page.sh"),
        "LANG": "C.UTF-8",
        "COLUMNS": "80",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "no_proxy": "*",
        **({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
    }


def bash(place: Path, page: str, script: Path, starts: Sequence[Path] = ()) -> None:
    """Run a script in a directory, after what starts its servers; what they print goes to ``.log`` there.

    Raises:
        AssertionError: A command failed, or the time was over; the message has the end of the log.
    """
    log = place / ".log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*alone(), "bash", str(script)],
            cwd=place,
            env={**environment(place, page), "STARTS": "\n".join(map(str, starts))},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            end(process.pid)
    told = log.read_text(encoding="utf-8", errors="replace")
    failed = re.findall(r"^FAILED: (.*)$", told, re.MULTILINE) or [f"{page}: stopped after {LIMIT} s"]
    assert code == 0, f"{failed[0]}\n\n" + "\n".join(told.splitlines()[-40:])


def end(group: int) -> None:
    """Kill what a script has left in the background."""
    try:
        os.killpg(group, 9)
    except ProcessLookupError:
        return


def kit(name: str, shelf: Path) -> Path:
    """The directory of a kit, made if it is not there yet; what it says it comes after is in it, too."""
    made, source = shelf / name, HERE / "kits" / f"{name}.sh"
    before = re.findall(r"^# after: (\w+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
    earlier = [kit(other, shelf) for other in before]
    with (shelf / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            place = shelf / f"{name}.unfinished"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for other in earlier:
                shutil.copytree(other, place, symlinks=True, dirs_exist_ok=True)
            bash(place, f"kit {name}", source)
            place.rename(made)
    return made


def starts(name: str) -> list[Path]:
    """What is sourced before a page that names this kit: variables and servers, also of the kits before it."""
    source = HERE / "kits" / f"{name}.sh"
    before = re.findall(r"^# after: (\w+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
    own = HERE / "kits" / f"{name}.start.sh"
    return [*(path for other in before for path in starts(other)), *([own] if own.exists() else [])]


def run_page(page: Path, place: Path, shelf: Path) -> None:
    """Run every block of a page that runs.

    Raises:
        AssertionError: A command failed; the message has the page, the line, the command and the end of the log.
    """
    text = page.read_text(encoding="utf-8")
    for name in kits(text):
        shutil.copytree(kit(name, shelf), place, symlinks=True, dirs_exist_ok=True)
    (place / ".venv").symlink_to(Path(sys.executable).parent.parent)
    for name, program in programs(text).items():
        (place / name).write_text(program, encoding="utf-8")
    (place / ".page.sh").write_text(script_of(text), encoding="utf-8")
    first = [start for name in kits(text) for start in starts(name)]
    bash(place, str(page.relative_to(ROOT)), place / ".page.sh", first)
