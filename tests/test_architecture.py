"""Rules about the code as a whole that no single test file owns. Import directions are import-linter's job."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "recalign"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LISTED = re.compile(r"^- `(?P<module>[\w/]+\.py)`: (?P<purpose>\S.*)$", re.MULTILINE)


def test_architecture_lists_every_module_once_and_no_other() -> None:
    listed = [found["module"] for found in LISTED.finditer((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))]
    missing = [f"- `{module}`: {_first_paragraph(module)}" for module in MODULES if module not in listed]
    assert missing == [], "ARCHITECTURE.md lacks these lines"
    assert [module for module in listed if module not in MODULES] == [], "ARCHITECTURE.md lists what is gone"
    assert len(listed) == len(set(listed))


def _first_paragraph(module: str) -> str:
    text = ast.get_docstring(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short_and_say_what_they_are_for(module: str) -> None:
    source = (PACKAGE / module).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 300
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, documented) and not node.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_no_module_is_a_junk_drawer() -> None:
    assert not [module for module in MODULES if Path(module).stem in ("utils", "util", "helpers", "misc", "common")]


def test_tests_stand_where_their_modules_do() -> None:
    """Each folder of tests is one of the package; files at the top may be about the package as a whole."""
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder.as_posix() for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []
