"""Builds the documentation as a site: `python docs/site/build.py` (or `make docs`). Any warning is a failure.

Pages lie in `docs/` as they are read on the hub; the files at the root (CHANGELOG.md and the like) belong to them. This
puts all of them and the generated reference into one folder, builds it with Zensical, and checks the HTML.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import check
import reference

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = ROOT / "build" / "docs" / "pages"
HTML: Final = ROOT / "build" / "docs" / "html"
AT_ROOT: Final = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def main() -> int:
    """Exit status: 0 if the site is there and whole."""
    shutil.rmtree(HTML.parent, ignore_errors=True)
    gather()
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    problems = check.problems(HTML) if HTML.is_dir() else []
    sys.stdout.write(said)
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    if done.returncode or problems:
        sys.stdout.write("The site is not whole.\n")
        return 1
    sys.stdout.write(f"{HTML.relative_to(ROOT)}/index.html\n")
    return 0


def gather() -> None:
    """All pages in one folder, with links that fit there."""
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in AT_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8")
        (PAGES / name).write_text(text.replace("](docs/", "]("), encoding="utf-8")
    for page in PAGES.rglob("*.md"):
        depth = len(page.relative_to(PAGES).parts) - 1
        above = "../" * (depth + 1)
        text = page.read_text(encoding="utf-8")
        for name in AT_ROOT:
            text = text.replace(f"]({above}{name}", f"]({'../' * depth}{name}")
        page.write_text(_nested_blocks(text), encoding="utf-8")
    for name, text in reference.pages().items():
        (PAGES / name).parent.mkdir(exist_ok=True)
        (PAGES / name).write_text(text, encoding="utf-8")


def _nested_blocks(text: str) -> str:
    """Blocks inside list items are indented by two or three spaces on the hub; the site's Markdown wants four."""
    return re.sub(r"(?<=\n\n)( {3}| {2})(?=```)(.*?\n)\1(```)", lambda m: _deeper(m[0]), text, flags=re.DOTALL)


def _deeper(block: str) -> str:
    return "\n".join(f"    {line.strip()}" for line in block.split("\n"))


if __name__ == "__main__":
    raise SystemExit(main())
