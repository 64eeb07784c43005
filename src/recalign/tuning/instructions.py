"""Data for instruction tuning (TALLRec, stage 1): the user's own Alpaca-format file, or questions about the catalogue.

The generator makes the stage run without a network and without anyone's licence terms: Alpaca's own 52,000 rows are
CC BY-NC, so they are read where a user has them and never shipped.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.json_rows import read_json_rows
from recalign.errors import ConfigError, DataError
from recalign.prompting.prompts import Instruction
from recalign.seeding import generator
from recalign.tuning.catalogue_tasks import TASKS, read_facts

_PARTS: Final = ("instruction", "input", "output")
_TRIES_PER_ROW: Final = 30  # of the same or of impossible questions, before a small catalogue counts as exhausted


def languages() -> tuple[str, ...]:
    """Languages that `generate_instructions` has wordings for (see `Domain.primary_language`), sorted."""
    files = resources.files("recalign.tuning").joinpath("wordings").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def generate_instructions(catalog: ItemCatalog, domain: Domain, *, n: int, seed: int) -> list[Instruction]:
    """Make `n` distinct instruction rows from a catalogue: facts about its items, in varied words.

    What can be asked depends on what the catalogue has: titles alone give completions, places in lists, alphabetical
    order and shared words; years (a column, or "(1995)" after the title), genres and authors add their own questions.
    Each task that the catalogue allows is equally likely. Ratings and labels have no way in.

    Args:
        catalog, domain: The items; nouns and language of the wordings.
        n: Rows wanted; a small catalogue has fewer distinct questions and then gives fewer rows.
        seed: The same arguments give the same rows.

    Raises:
        ConfigError: There are no wordings in the domain's language.
        DataError: Rows are wanted, and the catalogue allows no question at all.
    """
    wordings = _wordings(domain.primary_language)
    facts = read_facts(catalog)
    possible = [name for name, (needs, _) in TASKS.items() if facts.having[needs]]
    rng = generator(seed, "instructions")
    nouns = {"noun": domain.noun, "noun_plural": domain.noun_plural}
    rows: dict[Instruction, None] = {}
    tries = 0
    while len(rows) < n and possible and tries < _TRIES_PER_ROW * (len(rows) + 10):
        tries += 1
        name = possible[int(rng.integers(len(possible)))]
        fields = TASKS[name][1](facts, rng)
        if fields is not None:
            wording = wordings[name][int(rng.integers(len(wordings[name])))]
            text = {part: wording[part].format_map({**nouns, **fields}) for part in _PARTS}
            rows[Instruction(**text)] = None
    if n > 0 and not rows:
        raise DataError(
            "instructions from the catalogue",
            found=f"{len(facts.titles)} distinct titles, too few for any question",
            expected="at least three items with titles",
            hint="Give an instruction file, or leave the instruction stage out.",
        )
    return list(rows)


@cache
def _wordings(language: str) -> Mapping[str, Sequence[Mapping[str, str]]]:
    if language not in languages():
        raise ConfigError(
            f"language {language!r} of the domain",
            expected=f"one that catalogue instructions are worded in: {', '.join(languages())}",
            hint="Give an instruction file of your own in Alpaca format.",
        )
    text = resources.files("recalign.tuning").joinpath("wordings", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_instructions(path: Path) -> list[Instruction]:
    """Read an Alpaca-format file: a JSON array of objects, or one object per line (JSONL).

    Each object has the strings ``instruction`` and ``output`` (neither blank) and may have ``input`` (none, null and ""
    are the same); other keys are ignored. Blank lines in JSONL are skipped.

    Raises:
        DataError: The file is missing, no UTF-8, no JSON, empty, or a row is not as described; with path and
            line (or row, in an array).
    """
    rows = [_row(row.value, f"{path}, {row.place}") for row in read_json_rows(path) if row.text.strip()]
    if not rows:
        raise DataError(f"instruction file {path}", found="no rows in it", expected="Alpaca-format JSON or JSONL")
    return rows


def _row(value: object, where: str) -> Instruction:
    if isinstance(value, DataError):
        raise DataError(where, found=value.found, expected="one JSON object")
    if not isinstance(value, dict):
        expected = "an object with instruction, input and output"
        raise DataError(where, found=f"a {type(value).__name__}", expected=expected)
    parts = {key: value[key] for key in _PARTS if key in value}
    parts["input"] = "" if parts.get("input") is None else parts["input"]
    for key in _PARTS:
        part = parts.get(key)
        if not isinstance(part, str):
            found = "no such key" if key not in parts else f"a {type(part).__name__}"
            raise DataError(f"{where}, key {key!r}", found=found, expected="a string")
        if key != "input" and not part.strip():
            raise DataError(f"{where}, key {key!r}", found="a blank string", expected="text")
        if any("\ud800" <= char <= "\udfff" for char in part):
            raise DataError(f"{where}, key {key!r}", found="half of a surrogate pair", expected="Unicode text")
    return Instruction(**parts)
