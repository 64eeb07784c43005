"""Published ``instruction / input / output`` files (JSON or JSON Lines), parsed back into histories and targets.

The text does not say who the user is, nor in which order liked and disliked items were consumed: every row is a user
of its own, and its history lists the liked items first. Rendering it again with the same template gives the row back
byte for byte; a row where it does not is rejected, with its number.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.catalog import MISSING_TEXT
from recalign.data.domain import Domain
from recalign.data.json_rows import read_json_rows
from recalign.data.parsing.accounting import FileAccount, NothingLeft, RejectLedger
from recalign.data.parsing.files import refuse_stream
from recalign.data.published import Instruction, ParsedSample, PublishedRow, PublishedSamples, SampleTemplate
from recalign.data.reader import Defaults, SamplesReader
from recalign.data.schema import ITEMS
from recalign.data.source import SourceOptions
from recalign.data.title_names import split_year
from recalign.errors import ConfigError, DataError

LICENCE: Final = "as published with the file; the ratings inside have terms of their own"
_FIELDS: Final = ("instruction", "input", "output")
_BARE: Final = "an answer without its full stop, which --bare-answers allows"
_PARSED_WORDS: Final = ("noun", "verb", "yes", "no")
_OTHER_WORDS: Final = ("noun_plural", "past", "consumed")


def item_id(text: str) -> str:
    """Stable id of an item that is known by its text alone: ``a`` and 16 hexadecimal digits."""
    return "a" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_alpaca(
    path: Path, template: SampleTemplate, domain: Domain | None = None, options: SourceOptions | None = None
) -> PublishedSamples:
    """Read a published file: a JSON array of objects, or one object per line. Keys beyond the three are ignored.

    Args:
        path: The file.
        template: The wording of the file; it must be one that can be parsed (``tallrec``, ``tlrec``, ...).
        domain: Words that the file does not contain (the plural, the past, ...). Other words that differ from the
            defaults must agree with the file. None: the file's words and the defaults.
        options: `bare_answers` alone is heeded.
    """
    if not template.parses:
        raise ConfigError(f"prompt template {template.name!r} cannot be parsed", expected="one with a [parse] section")
    refuse_stream(path)
    bare_answers = options is not None and options.bare_answers
    parsed: list[tuple[int, str, ParsedSample]] = []
    rejected: list[tuple[int, str, str]] = []
    total = 0
    for row in read_json_rows(path):
        total += 1
        try:
            parsed.append((row.number, row.text, _parsed(template, _instruction(row.value), bare_answers)))
        except DataError as error:
            rejected.append((row.number, error.thing, row.text))
    if not parsed:
        ledger = _ledger(path, rejected)
        thing = f"{path}: no row in the form of template {template.name!r}"
        if not rejected:
            raise DataError(thing, found="no rows")
        hint = "Add that option." if next(iter(ledger.counts()), "") == _BARE else "Try another --template."
        raise NothingLeft(thing, ledger, expected="", hint=hint)
    common = Counter(sample.domain for _, _, sample in parsed).most_common(1)[0][0]
    odd = [row for row in parsed if row[2].domain != common]
    rejected += [(number, "other noun, verb or answers than most rows have", text) for number, text, _ in odd]
    samples = [(number, sample) for number, _, sample in parsed if sample.domain == common]
    return PublishedSamples(
        samples=tuple(_row(number, sample) for number, sample in samples),
        items=_items([sample for _, sample in samples]),
        domain=_merged(common, domain, path),
        accounts=(FileAccount(str(path), total, len(samples), len(rejected)),),
        rejects=_ledger(path, rejected),
    )


def _ledger(path: Path, rejected: list[tuple[int, str, str]]) -> RejectLedger:
    ledger = RejectLedger()
    lines = pl.DataFrame(sorted(rejected), schema=["line", "reason", "text"], orient="row")
    ledger.add_frame(path.name, lines.with_columns(lines=1))
    return ledger


def _instruction(record: object) -> Instruction:
    if isinstance(record, DataError):
        raise record
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in _FIELDS):
        raise DataError("no object with the texts instruction, input and output")
    if any("\ud800" <= char <= "\udfff" for key in _FIELDS for char in record[key]):
        raise DataError("a lone surrogate, which is no character")
    return Instruction(*(record[key] for key in _FIELDS))


def _parsed(template: SampleTemplate, instruction: Instruction, bare_answers: bool) -> ParsedSample:
    """The row taken apart; a full stop that its answer alone lacks is added where `bare_answers` allows it."""
    try:
        return template.parse(instruction)
    except DataError as error:
        problem = error
    try:
        sample = template.parse(replace(instruction, output=f"{instruction.output}."))
    except DataError:
        raise problem from None
    if not bare_answers:
        raise DataError(_BARE)
    return sample


def _row(number: int, sample: ParsedSample) -> PublishedRow:
    history = tuple((item_id(text), liked) for text, liked in sample.history)
    return PublishedRow(number, history, item_id(sample.target), sample.label)


def _items(samples: list[ParsedSample]) -> pl.DataFrame:
    texts = dict.fromkeys(text for sample in samples for text in (*(text for text, _ in sample.history), sample.target))
    rows = [(item_id(text), *_columns(text), None, text) for text in texts]
    return pl.DataFrame(rows, schema={**ITEMS, "text": pl.String()}, orient="row")


def _columns(text: str) -> tuple[str, int | None, str | None]:
    """Title, year and author of an item text: ``"Title" written by Author``, or a title that may end in its year."""
    title, separator, author = text.rpartition('" written by ')
    if separator and title.startswith('"') and title[1:].strip():
        return title[1:], None, author if author.strip() else None
    return text if text.strip() else MISSING_TEXT, split_year(text)[1], None


def _merged(in_file: Domain, given: Domain | None, path: Path) -> Domain:
    if given is None:
        return in_file
    default = Domain(language=given.language)
    for word in ("primary_language", *_PARSED_WORDS):
        value = getattr(given, word)
        if value not in (getattr(default, word) if word in _PARSED_WORDS else None, getattr(in_file, word)):
            thing = f"{word.replace('primary_', '')} {value!r} contradicts {path}"
            raise ConfigError(thing, expected=repr(getattr(in_file, word)))
    extra = {word: getattr(given, word) for word in _OTHER_WORDS if getattr(given, word) != getattr(default, word)}
    return Domain.model_validate(in_file.model_dump() | extra | {"language": given.language})


PLUGIN: Final = SamplesReader(
    licence=LICENCE, defaults=Defaults(protocol="published"), options=frozenset({"bare_answers"}), read=read_alpaca
)
