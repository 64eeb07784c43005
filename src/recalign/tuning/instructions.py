"""Data for instruction tuning (TALLRec, stage 1): a file of instructions, or questions about the catalogue.

The generator makes the stage run without a network and without anyone's licence terms: Alpaca's own 52,000 rows are
CC BY-NC, so they are read where a user has them and never shipped.
"""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)

_PARTS: Final = ("instruction", "input", "output")
# Key of the turns: keys of who speaks and of the text. OpenAI's form, and ShareGPT's.
_CONVERSATIONS: Final = {"messages": ("role", "content"), "conversations": ("from", "value")}
_SPEAKERS: Final = {
    **{"system": "system", "developer": "system"},
    **{"user": "user", "human": "user"},
    **{"assistant": "assistant", "gpt": "assistant"},
}
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
            hint="Give an instruction file of your own.",
        )
    text = resources.files("recalign.tuning").joinpath("wordings", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_instructions(path: Path) -> list[Instruction]:
    """Read a file of instructions: a JSON array of objects, or one object per line (JSONL). Three forms are read:

    * Alpaca: the strings ``instruction`` and ``output`` (neither blank), perhaps ``input`` (none, null and "" are the
      same);
    * OpenAI: ``messages``, a list of objects with ``role`` and ``content`` (text, or a list of text parts);
    * ShareGPT: ``conversations``, a list of objects with ``from`` and ``value``.

    A conversation begins with the user's question (perhaps after a system text) and its answer. These become a row:
    the system text is its instruction and the question its input, or the question alone its instruction. What is said
    later depends on what was said before, so it is not read; a warning counts such conversations. Other keys are
    ignored, and so are blank lines in JSONL.

    Raises:
        DataError: The file is missing, no UTF-8, no JSON, empty, or a row is not as described; with path and
            line (or row, in an array).
    """
    rows = [_row(row.value, f"{path}, {row.place}") for row in read_json_rows(path) if row.text.strip()]
    if not rows:
        expected = "rows in the form of Alpaca, of OpenAI (messages) or of ShareGPT (conversations)"
        raise DataError(f"instruction file {path}", found="no rows in it", expected=expected)
    if longer := sum(goes_on for _, goes_on in rows):
        logger.warning("%s: %d of %d rows go on after their first answer, which alone is read", path, longer, len(rows))
    return [row for row, _ in rows]


def _row(value: object, where: str) -> tuple[Instruction, bool]:
    """A row, and whether its conversation goes on after the first answer."""
    if isinstance(value, DataError):
        raise DataError(where, found=value.found, expected="one JSON object")
    if not isinstance(value, dict):
        expected = "an object with instruction, input and output"
        raise DataError(where, found=f"a {type(value).__name__}", expected=expected)
    for form, keys in _CONVERSATIONS.items():
        if form in value:
            return _first_exchange(value[form], keys, f"{where}, key {form!r}")
    parts = {key: value[key] for key in _PARTS if key in value}
    parts["input"] = "" if parts.get("input") is None else parts["input"]
    for key in _PARTS:
        if key not in parts:
            raise DataError(f"{where}, key {key!r}", found="no such key", expected="a string")
        _check(parts[key], f"{where}, key {key!r}", blank=key == "input")
    return Instruction(**parts), False


def _first_exchange(turns: object, keys: tuple[str, str], where: str) -> tuple[Instruction, bool]:
    if not isinstance(turns, list):
        raise DataError(where, found=f"a {type(turns).__name__}", expected="a list of turns")
    places = [f"{where}, turn {number}" for number in range(1, len(turns) + 1)]
    said = [_turn(turn, keys, place) for turn, place in zip(turns[:1], places, strict=False)]
    length = 3 if said and said[0][0] == "system" else 2
    said += [_turn(turn, keys, place) for turn, place in zip(turns[1:length], places[1:], strict=False)]
    speakers = [speaker for speaker, _ in said]
    if len(said) < length or speakers[-2:] != ["user", "assistant"]:
        expected = "user, then assistant (perhaps after system)"
        raise DataError(where, found=", then ".join(speakers) or "no turns", expected=expected)
    *system, question, answer = (text for _, text in said)
    told = [text for text in system if text.strip()]
    row = Instruction(told[0], question, answer) if told else Instruction(question, "", answer)
    return row, len(turns) > length


def _turn(turn: object, keys: tuple[str, str], where: str) -> tuple[str, str]:
    """Who speaks (system, user or assistant), and the text."""
    if not isinstance(turn, dict):
        raise DataError(where, found=f"a {type(turn).__name__}", expected=f"an object with {' and '.join(keys)}")
    speaker = _SPEAKERS.get(str(turn.get(keys[0])))
    if speaker is None:
        raise DataError(f"{where}, key {keys[0]!r}", found=repr(turn.get(keys[0])), expected=" or ".join(_SPEAKERS))
    text = turn.get(keys[1])
    if isinstance(text, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in text):
        text = "".join(part["text"] for part in text)
    _check(text, f"{where}, key {keys[1]!r}", blank=speaker == "system")
    return speaker, str(text)


def _check(text: object, where: str, *, blank: bool) -> None:
    """Raise DataError where `text` is no text, or blank without being allowed to."""
    if not isinstance(text, str):
        raise DataError(where, found=f"a {type(text).__name__}", expected="a string")
    if not blank and not text.strip():
        raise DataError(where, found="a blank string", expected="text")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise DataError(where, found="half of a surrogate pair", expected="Unicode text")
