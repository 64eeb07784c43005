"""The documentation as a site: every page has its place, the reference is whole, and what is broken is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
import typer

import recalign
from recalign.cli.config import CONFIGURATIONS
from recalign.cli.main import app

ROOT: Final = Path(__file__).parent.parent
TOOLS: Final = ROOT / "docs" / "site"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of docs/site."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return import_module


def entries(nav: list[Any]) -> list[str]:
    """Paths in the navigation, in order."""
    values = [value for entry in nav for value in entry.values()]
    return [path for value in values for path in ([value] if isinstance(value, str) else entries(value))]


def test_every_page_has_one_place_in_the_navigation(tools: Any) -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    written = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    made = list(tools("reference").pages())
    assert sorted(entries(project["nav"])) == sorted([*written, *made, *tools("build").AT_ROOT])


def test_the_reference_has_every_option_key_and_name(tools: Any) -> None:
    reference = tools("reference")
    commands, configuration, python = (
        "\n\n".join(page()) for page in (reference.commands, reference.configuration, reference.python)
    )
    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"\n\n## `{verb}` " in commands
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or f"`{parameter.opts[0]}`" in commands
    for name in CONFIGURATIONS:
        assert f"\n\n## `{name}` " in configuration
    assert "`optim.lr` = `" in configuration
    assert [
        name for name in recalign.__all__ if name != "__version__" and f"recalign.{name}\n" not in f"{python}\n"
    ] == []
    file = "\n\n".join(reference.experiment_file())
    assert "`zero_shot_for` = `[]`" in file
    assert "`resamples` = `2000`" in file
    assert "`data.max_history`" not in file


def test_options_are_shown_as_they_are_and_are_no_markup(tools: Any) -> None:
    page = "\n\n".join(tools("reference").commands())
    assert '<a id="recommend-k"></a>`-k`, `--count` INT — default `10`' in page
    assert "(OPENAI\\_API\\_KEY)" in page


PAGE: Final = '<html><head><link rel="stylesheet" href="a.css"></head><body id="top">{}</body></html>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "a.css").write_text("body { background: url('p.png') }")
    (tmp_path / "p.png").write_bytes(b"")
    (tmp_path / "index.html").write_text(
        PAGE.format('<a href="below/x.html#here">x</a><img src="p.png"><a href="https://example.org">out</a>')
    )
    text = PAGE.replace("a.css", "../a.css").format(
        '<h2 id="here">x</h2><a href="../index.html#top">up</a><a href="#here">x</a>'
    )
    (tmp_path / "below" / "x.html").write_text(text)
    return tmp_path


def test_a_whole_site_has_no_problems(tools: Any, site: Path) -> None:
    assert tools("check").problems(site) == []


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("below/x.html#here", "below/y.html", "index.html: no such file: below/y.html"),
        ("x.html#here", "x.html#there", "index.html: no such anchor: below/x.html#there"),
        ("below/x.html#here", "../outside.html", "index.html: no such file: ../outside.html"),
        ('src="p.png"', 'src="q.png"', "index.html: no such file: q.png"),
        ('src="p.png"', 'src="https://example.org/p.png"', "index.html: loads https://example.org/p.png"),
        ('src="p.png"', 'src="p.png" style="background: url(//x.org/p)"', "index.html: loads //x.org/p"),
        ('"a.css"', '"https://example.org/a.css"', "index.html: loads https://example.org/a.css"),
        ("<head>", '<head><script src="//example.org/a.js"></script>', "index.html: loads //example.org/a.js"),
        ("<head>", "<head><style>@import 'https://x.org/a'</style>", "index.html: loads https://x.org/a"),
        ("<img", '<autoref identifier="recalign.x">x</autoref><img', "index.html: nothing is called recalign.x"),
    ],
)
def test_what_is_broken_is_found(tools: Any, site: Path, before: str, after: str, problem: str) -> None:
    page = site / "index.html"
    assert before in page.read_text()
    page.write_text(page.read_text().replace(before, after, 1))
    assert tools("check").problems(site) == [problem]


def test_a_style_sheet_that_loads_from_elsewhere_is_found(tools: Any, site: Path) -> None:
    (site / "a.css").write_text("@font-face { src: url(https://example.org/f.woff2) }")
    assert tools("check").problems(site) == ["a.css: loads https://example.org/f.woff2"]


def test_blocks_in_lists_are_indented_for_the_site(tools: Any) -> None:
    text = "1. Do:\n\n   ```sh\n   make\n     deeper\n   ```\n\n2. Then.\n\n```sh\ntop\n```\n"
    made = tools("build")._deeper_blocks(text)
    assert made == "1. Do:\n\n    ```sh\n    make\n      deeper\n    ```\n\n2. Then.\n\n```sh\ntop\n```\n"


@pytest.mark.extras
def test_a_broken_link_anchor_or_name_stops_the_build(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="it is installed by `make docs`")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("zensical.toml", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    page = tmp_path / "docs" / "api.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[a](data.md#nowhere) and [b](nothing.md)\n", encoding="utf-8")
    tool = tmp_path / "docs" / "site" / "reference.py"
    tool.write_text(tool.read_text().replace('"recalign.llm.base.Teacher"', '"recalign.llm.base.Nobody"'))
    done = subprocess.run([sys.executable, str(tool.with_name("build.py"))], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Content-Security-Policy" in (tmp_path / "build" / "docs" / "html" / "index.html").read_text()
    for broken in ("data.html#nowhere", "nothing.md", "recalign.llm.base.Nobody"):
        assert broken in done.stdout, done.stdout
