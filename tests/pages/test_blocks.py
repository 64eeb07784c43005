"""Every block of the documentation runs in `make test-docs`, or says why it does not; how blocks are found."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from .blocks import ROOT, RUN, SHOWN, blocks, kits, pages, programs, script
from .running import HERE, bash, starts

PAGE = """<!-- prepared: tables shoes -->
# Title

```sh
export WORD=said   # a comment
test "$WORD" = said
```

1. In a list:

   <!-- not run: It needs a GPU. -->
   ```sh
   recalign --version
   ```

```text
recalign serve is shown here
```

```python
raise SystemExit(3)
```
"""
EVERY = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


@EVERY
def test_every_block_runs_or_says_why_not(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        where = f"{page.name}, line {block.line}"
        assert block.language in (*RUN, *SHOWN), f"{where}: nobody knows how to run {block.language!r}"
        assert not block.needs_a_reason, f"{where}: commands that neither run nor say why not (<!-- not run: ... -->)"
        if block.reason is not None:
            assert re.fullmatch(r"[A-Z`].{10,}\.", block.reason), f"{where}: the reason is no sentence"


@EVERY
def test_what_prepares_a_page_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in kits(text) if not (HERE / "kits" / f"{name}.sh").exists()] == []


@EVERY
def test_programs_and_tables_can_be_read(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            compile(block.text, f"{page.name}:{block.line}", "exec")
        elif block.language == "toml":
            tomllib.loads(block.text)


def test_blocks_know_line_language_and_reason() -> None:
    found = blocks(PAGE)
    assert [(block.line, block.language, block.reason, block.runs) for block in found] == [
        (4, "sh", None, True),
        (12, "sh", "It needs a GPU.", False),
        (16, "text", None, False),
        (20, "python", None, True),
    ]
    assert found[1].text == "recalign --version\n", "without the list's indentation"
    assert [block.needs_a_reason for block in found] == [False, False, True, False]


def test_commands_keep_their_lines() -> None:
    lines = script(PAGE).splitlines()
    assert lines[4:6] == ["export WORD=said   # a comment", 'test "$WORD" = said']
    assert lines[19] == "python block-20.py"
    assert [number for number, line in enumerate(lines, 1) if line] == [5, 6, 20]
    assert programs(PAGE)["block-20.py"].splitlines()[20] == "raise SystemExit(3)"


def test_a_fence_that_stays_open_is_found() -> None:
    with pytest.raises(ValueError, match="line 2"):
        blocks("text\n```sh\nls\n")


def test_a_reason_stands_directly_before_the_fence() -> None:
    (block,) = blocks("<!-- not run: It needs a GPU. -->\n\n```sh\nls\n```\n")
    assert block.runs


def test_kits_bring_the_starts_of_those_before_them() -> None:
    assert kits(PAGE) == ["tables", "shoes"]
    assert [path.name for path in starts("hub")] == ["hub.start.sh"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands of pages are bash's")
def test_the_failing_line_and_command_are_told(tmp_path: Path) -> None:
    source = tmp_path / "page.sh"
    source.write_text("echo first\n\ntrue && \\\n  test a = b\necho never\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"docs/some\.md, line [34]: test a = b") as raised:
        bash(tmp_path, "docs/some.md", source)
    assert "first" in str(raised.value)
    assert "never" not in str(raised.value)


def test_pages_see_no_keys_and_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    source = tmp_path / "page.sh"
    source.write_text(f'test -z "${{OPENAI_API_KEY:-}}"\ntest "$HOME" = "{tmp_path}/.home"\n', encoding="utf-8")
    bash(tmp_path, "docs/some.md", source)
