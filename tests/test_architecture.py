"""Rules about the code as a whole that no single test file owns. Import directions are import-linter's job."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "recalign"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=\n\n)", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w/]+(?:\.py|/))`")


def test_architecture_has_three_lines_per_package() -> None:
    """What a package owns, what it does not know, where to start reading."""
    sections = dict(SECTION.findall(ARCHITECTURE))
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(sections) == packages
    for name, text in sections.items():
        owns, unaware, start = text.strip().split("\n")
        assert owns.startswith("Owns "), name
        assert unaware.startswith("Does not "), name
        assert start.startswith("Start with "), name


def test_architecture_names_what_is_there() -> None:
    paths = [path for path in NAMED.findall(ARCHITECTURE) if "NAME" not in path and "VERB" not in path]
    assert len(paths) > 40
    assert [path for path in paths if not ((PACKAGE / path).exists() or (ROOT / path).exists())] == []


def test_the_ways_through_the_code_are_short() -> None:
    section = ARCHITECTURE.split("## Three ways through the code")[1].split("\n## ")[0]
    ways = [NAMED.findall(paragraph) for paragraph in section.strip().split("\n\n")]
    assert len(ways) == 3
    assert all(2 < len(way) <= 8 for way in ways)


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
    """Each folder of tests is one of the package, but for that of the documentation's pages; files at the top may be
    about the package as a whole."""
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    folders.remove(Path("pages"))
    assert [folder.as_posix() for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []


def test_packages_are_one_way() -> None:
    """Imports, those within functions as well, make no circle of packages, whatever the order of layers."""
    assert _circle({module: (PACKAGE / module).read_text(encoding="utf-8") for module in MODULES}) == []


@pytest.mark.parametrize(
    "line",
    [
        "from recalign.cli.main import run",
        "import recalign.cli.main as program",
        "from recalign import cli",
        "def f() -> None:\n    from ..cli import main",
        "if True:\n    from ..cli.main import run",
    ],
)
def test_a_circle_of_packages_is_seen(line: str) -> None:
    modules = {"cli/main.py": "from recalign.data.samples import SampleSet", "data/samples.py": line}
    assert set(_circle(modules)) == {"cli", "data"}
    for_checkers = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from recalign.cli.main import run"
    assert _circle({**modules, "data/samples.py": for_checkers}) == []


def _circle(modules: dict[str, str]) -> list[str]:
    """Packages that import each other in a circle, or none; `modules` are the paths of modules and their text."""
    packages = {_package_of(module) for module in modules}
    imported: dict[str, set[str]] = {package: set() for package in packages}
    for module, text in modules.items():
        names = set(_imported_names(ast.parse(text), module))
        targets = {name.split(".")[1] for name in names if name.startswith("recalign.")} & packages
        imported[_package_of(module)] |= targets - {_package_of(module)}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _package_of(module: str) -> str:
    """First part of a module's path: the package at the top, or the module that lies there."""
    return Path(module).parts[0].removesuffix(".py")


def _imported_names(tree: ast.AST, module: str) -> Iterator[str]:
    """Full names of all that a module imports at run time, in functions too: ``recalign.data.samples.SampleSet``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = ["recalign", *Path(module).parts[:-1]]
            above = parts[: len(parts) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
        yield from _imported_names(node, module)
