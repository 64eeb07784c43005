"""Builds the documentation as a site: `python docs/site/build.py` (or `make docs`). Any warning is a failure.

Pages lie in `docs/` as they are read on a code host; some files at the root (CHANGELOG.md and the like) belong to them.
This puts them and the generated reference into one folder, builds it with Zensical, and checks the HTML.
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
AT_ROOT: Final = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def main() -> int:
    """Exit status: 0 if the site is there and whole."""
    pages, html = ROOT / "build" / "docs" / "pages", ROOT / "build" / "docs" / "html"
    shutil.rmtree(html.parent, ignore_errors=True)
    gather(ROOT, pages)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    said = said.partition("Traceback (most recent call last)")[0]  # how --strict ends
    wrong = check.problems(html) if html.is_dir() else []
    sys.stdout.write(said + "".join(f"{problem}\n" for problem in wrong))
    if done.returncode or wrong:
        sys.stdout.write("The site is not whole.\n")
        return 1
    place = html.relative_to(ROOT)
    sys.stdout.write(f"{place}/index.html; with its search: python -m http.server --directory {place}\n")
    return 0


def gather(root: Path, pages: Path) -> None:
    """All pages of a checkout in one folder, with links that fit there."""
    shutil.copytree(root / "docs", pages, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in AT_ROOT:
        text = (root / name).read_text(encoding="utf-8")
        (pages / name).write_text(text.replace("](docs/", "]("), encoding="utf-8")
    for page in pages.rglob("*.md"):
        above = "../" * (len(page.relative_to(pages).parts) - 1)
        text = page.read_text(encoding="utf-8")
        for name in AT_ROOT:
            text = text.replace(f"](../{above}{name}", f"]({above}{name}")
        page.write_text(_deeper_blocks(text), encoding="utf-8")
    for name, text in reference.pages().items():
        (pages / name).parent.mkdir(exist_ok=True)
        (pages / name).write_text(text, encoding="utf-8")


def _deeper_blocks(text: str) -> str:
    """Fences inside list items, four spaces deep: code hosts take two or three, the site's Markdown does not."""

    def deeper(block: re.Match[str]) -> str:
        return "".join(f"    {line.removeprefix(block[1])}" for line in block[0].splitlines(keepends=True))

    return re.sub(r"^( {2,3})(?:<!--.*?-->\n\1)?```.*?^\1```", deeper, text, flags=re.DOTALL | re.MULTILINE)


if __name__ == "__main__":
    raise SystemExit(main())
