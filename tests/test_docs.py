"""The documentation promises nothing that is not there: links, commands, options, names."""

from __future__ import annotations

import inspect
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from recalign.cli.main import app
from recalign.data.protocols import PROTOCOLS
from recalign.data.readers import READERS
from recalign.recommender import Recommender

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def shell_lines(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    assert [to for to in targets if "://" not in to and not (page.parent / to).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_options_exist(page: Path) -> None:
    for words in shell_lines(page):
        if not words[0].endswith("recalign"):
            continue
        verb, *rest = words[1:]
        assert verb in COMMANDS, words
        options = {name for parameter in COMMANDS[verb].params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)}
        assert used <= options, (verb, used - options)
        for word in rest:
            assert not word.startswith("experiments/") or "*" in word or (ROOT / word).exists(), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {words[1] for words in shell_lines(page) if words[0] == "make" and len(words) > 1}
    assert used <= targets


def test_data_page_has_every_dataset_and_protocol() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs" / "data.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*READERS.names(), *PROTOCOLS, "tallrec"} <= set(rows)


def test_readme_uses_the_quickstart_as_it_is() -> None:
    from recalign.data.catalog import ItemCatalog
    from recalign.data.matching import TitleIndex
    from recalign.data.readers.synthetic import generate

    experiment = tomllib.loads((ROOT / "experiments" / "quickstart.toml").read_text(encoding="utf-8"))
    (words,) = (words for words in shell_lines(ROOT / "README.md") if words[0] == ".venv/bin/recalign")
    stages = {stage["name"]: stage for stage in experiment["stages"]}
    stage = stages[Path(words[2]).name]
    assert words[2] == f"runs/{experiment['name']}/models/{stage['name']}"
    data = experiment["data"][stage["data"][-1]]
    sizes = {name: data[name] for name in ("users", "items", "ratings_per_user") if name in data}
    source = generate(data["catalogue"], seed=data["seed"], **sizes)
    index = TitleIndex(ItemCatalog.from_items(source.items, "{title}"))
    assert index.match(words[words.index("--likes") + 1]).how == "title"


def test_readme_python_fits_the_api() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    compile(block, "README.md", "exec")
    assert len(re.findall(r"^\w", block, re.MULTILINE)) == 3
    inspect.signature(Recommender.load).bind("runs/x")
    inspect.signature(Recommender.recommend).bind(None, likes=["a"], dislikes=["b"], k=10, explain=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_have_no_placeholders(page: Path) -> None:
    assert not re.search(r"\b(TODO|TBD|FIXME|XXX|coming soon|lorem)\b", page.read_text(encoding="utf-8"))
