from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.published import PublishedSamples
from recalign.data.readers.alpaca_json import item_id, read_alpaca
from recalign.data.source import SourceOptions
from recalign.errors import ConfigError, DataError
from recalign.prompting.prompts import HistoryText, Instruction
from recalign.prompting.template import PromptTemplate

TALLREC = PromptTemplate.load("tallrec")


def row(liked: list[str], disliked: list[str], target: str, label: int, noun: str = "book") -> dict[str, str]:
    history = [HistoryText(text, True) for text in liked] + [HistoryText(text, False) for text in disliked]
    made = TALLREC.instruction(Domain(noun=noun), history, target, label)
    return {"instruction": made.instruction, "input": made.input, "output": made.output}


ROWS = [
    row(
        ['"Dune" written by Herbert'],
        ['"Emma" written by Jane Austen', '"It, "It"" written by A, B'],
        '"X" written by Y',
        1,
    ),
    row([], [], '"Dune" written by Herbert', 0),
]


def write(path: Path, rows: list[Any], lines: bool = False) -> Path:
    text = "\n".join(json.dumps(row) for row in rows) + "\n" if lines else json.dumps(rows, indent=4)
    path.write_text(text, encoding="utf-8")
    return path


def render(data: PublishedSamples) -> list[Instruction]:
    catalog = ItemCatalog(data.items)
    return [
        TALLREC.instruction(
            data.domain,
            [HistoryText(catalog.text(item), liked) for item, liked in sample.history],
            catalog.text(sample.item_id),
            sample.label,
        )
        for sample in data.samples
    ]


@pytest.mark.parametrize("lines", [False, True])
def test_rows_become_histories_and_items_and_come_back(tmp_path: Path, lines: bool) -> None:
    data = read_alpaca(write(tmp_path / "valid.json", ROWS, lines), TALLREC)
    assert [sample.row for sample in data.samples] == [1, 2]
    assert data.samples[0].label == 1
    assert data.samples[0].history[0] == (item_id('"Dune" written by Herbert'), True)
    assert data.samples[1].history == ()
    assert data.samples[1].item_id == data.samples[0].history[0][0]
    assert data.items.select("title", "author", "text").rows()[1:3] == [
        ("Emma", "Jane Austen", '"Emma" written by Jane Austen'),
        ('It, "It"', "A, B", '"It, "It"" written by A, B'),
    ]
    assert (data.domain.noun, data.domain.noun_plural) == ("book", "books")
    assert (data.accounts[0].lines, data.accounts[0].parsed, len(data.rejects)) == (2, 2, 0)
    assert render(data) == [Instruction(**one) for one in ROWS]


def test_movie_titles_give_their_year(tmp_path: Path) -> None:
    data = read_alpaca(write(tmp_path / "valid.json", [row(["Heat (1995)"], [], "Alien", 1, "movie")]), TALLREC)
    assert data.items.select("title", "year", "author").rows() == [("Heat (1995)", 1995, None), ("Alien", None, None)]


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    poem = {"instruction": "Write a poem.", "input": "", "output": "Roses"}
    maybe = ROWS[0] | {"output": "Maybe."}
    surrogate = ROWS[0] | {"input": ROWS[0]["input"].replace("Dune", "\ud800")}
    odd = row([], [], "Heat", 1, noun="movie")
    path = write(tmp_path / "valid.jsonl", [poem, ROWS[0], 7, maybe, odd, surrogate, ROWS[1]], lines=True)
    with path.open("a", encoding="utf-8") as file:
        file.write('\n{"torn": ')
    data = read_alpaca(path, TALLREC)
    assert [sample.row for sample in data.samples] == [2, 7]
    assert (data.accounts[0].lines, data.accounts[0].parsed, data.accounts[0].rejected) == (9, 2, 7)
    assert data.rejects.frame().select("line", "reason").rows() == [
        (1, "the instruction is not in the form of template 'tallrec'"),
        (3, "no object with the texts instruction, input and output"),
        (4, "unknown answer"),
        (5, "other noun, verb or answers than most rows have"),
        (6, "a lone surrogate, which is no character"),
        (8, "the line is no JSON"),
        (9, "the line is no JSON"),
    ]


def bare(row: dict[str, str]) -> dict[str, str]:
    return row | {"output": row["output"].rstrip(".")}


def test_answers_without_full_stop_are_taken_by_option_only(tmp_path: Path) -> None:
    path = write(tmp_path / "valid.json", [bare(row) for row in ROWS])
    with pytest.raises(DataError, match=r"without its full stop, which --bare-answers allows \(2\)\. Add that option"):
        read_alpaca(path, TALLREC)
    data = read_alpaca(path, TALLREC, None, SourceOptions(bare_answers=True))
    assert [sample.label for sample in data.samples] == [1, 0]
    assert (data.domain.yes, data.domain.no, len(data.rejects)) == ("Yes.", "No.", 0)
    assert render(data) == [Instruction(**row) for row in ROWS]


def test_the_option_takes_bare_answers_beside_whole_ones_and_nothing_else(tmp_path: Path) -> None:
    others = [ROWS[0] | {"output": answer} for answer in ("Maybe", "yes", "Yes..", "", "Yes, ")]
    path = write(tmp_path / "valid.json", [ROWS[0], bare(ROWS[1]), *others])
    plain = read_alpaca(path, TALLREC)
    assert [sample.row for sample in plain.samples] == [1]
    reasons = plain.rejects.frame()["reason"].to_list()
    assert reasons == ["an answer without its full stop, which --bare-answers allows", *["unknown answer"] * 5]
    data = read_alpaca(path, TALLREC, None, SourceOptions(bare_answers=True))
    assert [(sample.row, sample.label) for sample in data.samples] == [(1, 1), (2, 0)]
    assert data.rejects.frame()["reason"].to_list() == ["unknown answer"] * 5


def test_given_words_complete_the_file_or_contradict_it(tmp_path: Path) -> None:
    path = write(tmp_path / "valid.json", ROWS)
    domain = read_alpaca(path, TALLREC, Domain(noun_plural="tomes")).domain
    assert (domain.noun, domain.noun_plural) == ("book", "tomes")
    assert read_alpaca(path, TALLREC, Domain(noun="book")).domain.noun_plural == "books"
    with pytest.raises(ConfigError, match=r"noun 'movie' contradicts .*valid\.json; expected 'book'"):
        read_alpaca(path, TALLREC, Domain(noun="movie"))
    with pytest.raises(ConfigError, match="language 'de' contradicts"):
        read_alpaca(path, TALLREC, Domain(language="de"))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"[{]", "is no JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[]", "no rows"),
        (b"", "no rows"),
        (b'[{"instruction": "x", "input": "", "output": ""}]', "instruction is not in the form"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "valid.json").write_bytes(content)
    with pytest.raises(DataError, match=part) as caught:
        read_alpaca(tmp_path / "valid.json", TALLREC)
    assert "valid.json" in str(caught.value)


def test_missing_file_and_template_that_cannot_parse(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_alpaca(tmp_path / "none.json", TALLREC)
    with pytest.raises(ConfigError, match=r"\[parse\]"):
        read_alpaca(tmp_path / "none.json", PromptTemplate.load("default"))


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "rows"), [("movie", 1000), ("book", 2427)])
def test_published_files_through_items_and_back(real_data: Path, name: str, rows: int) -> None:
    path = real_data / f"tallrec-{name}" / "valid.json"
    data = read_alpaca(path, TALLREC)
    published = [Instruction(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    assert len(data.samples) == rows
    assert len(data.rejects) == 0
    assert render(data) == published
