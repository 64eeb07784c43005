"""Teachers as plug-ins: built-in ones, and one that another package brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recalign.baselines.config import InContextConfig
from recalign.cot.config import TeachConfig
from recalign.cot.teach import teach
from recalign.cot.teachers import TEACHERS, find_teacher, make_language_model, make_teacher
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, TeacherError
from recalign.llm.ledger import ledger_path
from recalign.testing.tiny import make_tiny

# A package of somebody else: a language model that says the same to everybody, and answers whatever it is asked.
MODULE = """
from recalign.cot.teachers import TeacherPlugin
from recalign.llm.base import Completion, Usage


class Parrot:
    ledgered, max_concurrency = True, 1

    def __init__(self, model, config):
        self.name, self.settings = f"parrot:{model}", {"model": model}

    async def complete(self, question):
        return Completion("Yes, the user likes films.", usage=Usage(3, 2))

    async def close(self):
        pass


PLUGIN = TeacherPlugin(model="WORD", language_model=Parrot)
"""


@pytest.fixture
def parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package, as an installer leaves it; it is on the path."""
    folder = tmp_path / "site-packages"
    about = folder / "parrot-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "parrot_of_the_tests.py").write_text(MODULE, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(
        "[recalign.teachers]\nparrot = parrot_of_the_tests:PLUGIN\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_the_built_in_teachers_are_listed_without_what_they_need() -> None:
    code = (
        "import sys; from recalign.cot.config import TeachConfig; from recalign.cot.teachers import TEACHERS;"
        "print(*TEACHERS.names()); TeachConfig(teacher='hf:a'); TeachConfig(teacher='openai:a');"
        "print({'torch', 'openai', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "heuristic hf openai\nset()\n"
    records = dict(TEACHERS.all())
    assert {name for name, record in records.items() if record.model} == {"hf", "openai"}
    assert {name for name, record in records.items() if record.language_model} == {"openai"}


@pytest.mark.parametrize("teacher", ["heuristic:", "heuristic:a", "openai", "hf: ", "openai:a\nb"])
def test_a_model_is_named_where_there_are_models(teacher: str) -> None:
    with pytest.raises(ConfigError, match="teacher; found"):
        find_teacher(teacher)
    assert find_teacher("hf:org/model:tag")[1] == "org/model:tag"


def test_a_local_model_goes_through_the_same_pipeline(movies: SampleSet, tmp_path: Path) -> None:
    checkpoint = make_tiny(tmp_path / "model", "qwen2", max_positions=2048)
    settings = TeachConfig(teacher=f"hf:{checkpoint}", max_tokens=12, limit=12)
    for _ in range(2):
        with pytest.raises(TeacherError, match="no sample was kept"):
            teach(movies, make_teacher(movies, settings), settings, tmp_path / "cot")
    assert ledger_path(tmp_path / "cot").exists(), "its answers take time, so they are kept"


@pytest.mark.usefixtures("parrot")
def test_a_teacher_of_another_package_teaches(movies: SampleSet, tmp_path: Path) -> None:
    assert TEACHERS.names() == ("heuristic", "hf", "openai", "parrot")
    config = TeachConfig(teacher="parrot:hello", limit=12)
    with pytest.raises(TeacherError, match=r"no sample was kept.*stage 2: off-schema"):
        teach(movies, make_teacher(movies, config), config, tmp_path / "cot")
    with pytest.raises(ValueError, match="expected parrot:WORD"):
        TeachConfig(teacher="parrot")


@pytest.mark.usefixtures("parrot")
def test_a_teacher_of_another_package_is_asked_in_context() -> None:
    assert make_language_model("parrot:hello", InContextConfig(teacher="parrot:hello")).name == "parrot:hello"
    with pytest.raises(ValueError, match="writes chain-of-thought data only"):
        InContextConfig(teacher="heuristic")


def test_the_command_takes_a_teacher_of_another_package(movies: SampleSet, parrot: Path, tmp_path: Path) -> None:
    code = "from recalign.cli.main import run; run()"
    options = ["--teacher", "parrot:hello", "--limit", "12", "--output", str(tmp_path / "cot")]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(parrot)!r}); {code}"]
    done = subprocess.run([*command, "teach", str(movies.path), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no sample was kept" in done.stderr
    assert "stage 2: off-schema" in done.stderr
