"""Data for instruction tuning (TALLRec, stage 1): the user's own Alpaca-format file, or questions about the catalogue.

The generator makes the stage run without a network and without anyone's licence terms: Alpaca's own 52,000 rows are
CC BY-NC, so they are read where a user has them and never shipped.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from recalign.data.catalog import ItemCatalog
from recalign.errors import ConfigError, DataError
from recalign.prompting.template import Domain, Instruction
from recalign.seeding import generator
from recalign.tuning.catalogue_facts import read_facts
from recalign.tuning.catalogue_tasks import TASKS

Wordings = Mapping[str, Sequence[Mapping[str, str]]]

_TRIES_PER_ROW: Final = 30  # of the same or of impossible questions, before a small catalogue counts as exhausted


def languages() -> tuple[str, ...]:
    """Languages that `generate_instructions` has wordings for (see `Domain.primary_language`), sorted."""
    files = resources.files("recalign.tuning").joinpath("wordings").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def generate_instructions(catalog: ItemCatalog, domain: Domain, *, n: int, seed: int) -> list[Instruction]:
    """Make `n` distinct instruction rows from a catalogue: facts about its items, in varied words.

    What can be asked depends on what the catalogue has: titles alone give completions, places in lists, alphabetical
    order and shared words; years (a column, or "(1995)" after the title), genres and authors add their own questions.
    Each task that the catalogue allows is equally likely. Ratings and labels have no way in: only the columns title,
    year, author and genres are read.

    Args:
        catalog: The items.
        domain: Nouns and language of the wordings.
        n: Rows wanted; a small catalogue has fewer distinct questions and then gives fewer rows.
        seed: The same catalogue, domain, `n` and seed give the same rows.

    Raises:
        ConfigError: There are no wordings in the domain's language.
        DataError: Rows are wanted, and the catalogue allows no question at all.
    """
    wordings = _wordings(domain.primary_language)
    facts = read_facts(catalog)
    possible = [name for name, (needs, _) in TASKS.items() if getattr(facts, needs)]
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
            text = {part: wording[part].format_map({**nouns, **fields}) for part in ("instruction", "input", "output")}
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
def _wordings(language: str) -> Wordings:
    if language not in languages():
        raise ConfigError(
            f"language {language!r} of the domain",
            expected=f"one that catalogue instructions are worded in: {', '.join(languages())}",
            hint="Give an instruction file of your own in Alpaca format.",
        )
    text = resources.files("recalign.tuning").joinpath("wordings", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_instructions(path: Path) -> list[Instruction]:
    """Read an Alpaca-format file: a JSON array of objects, or one object per line (JSONL), told apart by their content.

    Each object has the strings ``instruction`` and ``output`` (neither blank) and may have ``input`` (none, null and ""
    are the same); other keys are ignored. Blank lines in JSONL are skipped.

    Raises:
        DataError: The file is missing, no UTF-8, no JSON, empty, or a row is not as described; with path and line.
    """
    text = _decode(path)
    body = text.lstrip()
    if not body:
        raise DataError(f"instruction file {path}", found="nothing in it", expected="Alpaca-format JSON or JSONL")
    objects = _array(text, path) if body[0] == "[" else _lines(text, path)
    rows = [_row(value, f"{path}, line {line}") for value, line in objects]
    if not rows:
        raise DataError(f"instruction file {path}", found="no rows", expected="at least one object")
    return rows


def _decode(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"instruction file {path}", found=error.strerror or str(error), expected="a file") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}", found=f"byte 0x{content[error.start]:02x}", expected="UTF-8") from None


def _lines(text: str, path: Path) -> Iterator[tuple[Any, int]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                yield json.loads(content), line
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {line}", found=_complaint(error), expected="one JSON object") from None


def _array(text: str, path: Path) -> Iterator[tuple[Any, int]]:
    """Elements of a JSON array with the line each begins on, decoded one by one: `json.loads` forgets the lines."""
    decoder = json.JSONDecoder()
    place, line, counted = _skip(text, text.index("[") + 1), 1, 0
    expect_value = text[place : place + 1] != "]"
    while expect_value:
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            at = error.lineno if isinstance(error, json.JSONDecodeError) else line
            raise DataError(f"{path}, line {at}", found=_complaint(error), expected="a JSON array of objects") from None
        yield value, line
        place = _skip(text, end)
        expect_value = text[place : place + 1] == ","
        place = _skip(text, place + 1) if expect_value else place
    if text[place : place + 1] != "]" or text[place + 1 :].strip():
        found = repr(text[place + 1 :].strip()[:1] if text[place : place + 1] == "]" else text[place : place + 1])
        at = text.count("\n", 0, place) + 1
        raise DataError(
            f"{path}, line {at}", found=found if found != "''" else "the end", expected="',' or a final ']'"
        )


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place


def _complaint(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__


def _row(value: Any, where: str) -> Instruction:
    if not isinstance(value, dict):
        raise DataError(
            where, found=f"a {type(value).__name__}", expected="an object with instruction, input and output"
        )
    parts = {key: value[key] for key in ("instruction", "input", "output") if key in value}
    parts["input"] = "" if parts.get("input") is None else parts["input"]
    for key in ("instruction", "input", "output"):
        part = parts.get(key)
        if not isinstance(part, str):
            found = "no such key" if key not in parts else f"a {type(part).__name__}"
            raise DataError(f"{where}, key {key!r}", found=found, expected="a string")
        if key != "input" and not part.strip():
            raise DataError(f"{where}, key {key!r}", found="a blank string", expected="text")
        if any("\ud800" <= char <= "\udfff" for char in part):
            raise DataError(f"{where}, key {key!r}", found="half of a surrogate pair", expected="Unicode text")
    return Instruction(**parts)
