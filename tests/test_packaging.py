"""The package: its version, what it depends on, and the files about it."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

import recalign

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What is imported under another name than that of its package.
MODULES: Final = {
    "faiss-cpu": "faiss",
    "mlflow-skinny": "mlflow",
    "psycopg[binary]": "psycopg",
    "prometheus-client": "prometheus_client",
}
# What is needed without an import of ours, and by whom.
NOT_IMPORTED: Final = {
    "accelerate": "transformers unpacks GGUF files with it",
    "bitsandbytes": "transformers quantises with it",
    "psycopg": "sqlalchemy opens PostgreSQL with it",
    "tensorboard": "torch writes its files with it",
}
COMES_ALONG: Final = {
    "huggingface_hub": "the cache of transformers",
    "h11": "uvicorn's parser of HTTP",
    "markupsafe": "jinja2's text that is markup",
    "starlette": "what fastapi is made of",
}


def needed(extras: tuple[str, ...]) -> set[str]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    names = {re.split(r"[><=~!;]", line)[0].strip() for line in lines}
    return {name for name in names if not name.startswith("recalign[")}


def imported(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                names |= {word.value.split(".")[0] for word in node.args[:1] if isinstance(word, ast.Constant)}
    return names


def test_the_version_is_said_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [recalign.__version__]
    told = subprocess.run(
        [sys.executable, "-c", "from recalign.cli.main import run; run()", "--version"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told == f"recalign {recalign.__version__}\n"


def test_each_direct_dependency_is_imported() -> None:
    extras = tuple(extra for extra in PROJECT["optional-dependencies"] if not extra.startswith("dev"))
    names = {MODULES.get(name, name) for name in needed(extras)}
    ours = imported(ROOT / "src")
    assert {name for name in names if name.replace("-", "_") not in ours} <= set(NOT_IMPORTED)


def test_what_is_imported_is_a_direct_dependency() -> None:
    """So nothing comes along by chance with something else, which may drop it."""
    modules = {MODULES.get(name, name).replace("-", "_") for name in needed(tuple(PROJECT["optional-dependencies"]))}
    assert imported(ROOT / "src") - modules - set(sys.stdlib_module_names) - {"recalign"} <= set(COMES_ALONG)


@pytest.mark.parametrize("file", ["SECURITY.md", "CITATION.cff", "LICENSE", ".github/ISSUE_TEMPLATE/bug.yml"])
def test_files_about_the_package_are_there(file: str) -> None:
    assert (ROOT / file).stat().st_size > 200


def test_the_installed_package_is_this_one() -> None:
    command = next(iter(importlib.metadata.entry_points(group="console_scripts", name="recalign")))
    assert command.value == PROJECT["scripts"]["recalign"]
