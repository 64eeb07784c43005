"""Data for other libraries: read back by what their documentation says of the files, row by row what tuning sees."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import AutoTokenizer

from recalign.artifacts import Manifest, read_manifest
from recalign.data.catalog import ItemCatalog
from recalign.data.facts import FactFinder
from recalign.data.samples import SampleSet
from recalign.data.schema import SPLITS
from recalign.errors import ArtifactError, ConfigError, DataError, ModelError, RecalignError
from recalign.models.config import BackboneConfig
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.scoring.base import sample_lists
from recalign.testing.tiny import make_tiny
from recalign.tuning import export_data as module
from recalign.tuning.export_data import export_data
from recalign.tuning.learned_titles import count_titles

CHATML = (
    "{% for m in messages %}{{ bos_token }}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ids_of_tuning(data: SampleSet, split: str, backbone: Path, template: str, max_length: int) -> list[list[int]]:
    """What a stage makes of the split with a prompt per sample."""
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    encoder = PromptEncoder(PromptTemplate.load(template), data.domain, tokenizer, max_length=max_length)
    samples = data.samples(split)
    prompts = DomainPrompts.over(encoder, data.catalog, count_titles([(data, data.frame("train"))]))
    encoded = prompts.encode(sample_lists(samples), [sample.label for sample in samples])
    return [list(prompt.ids) for prompt in encoded]


@pytest.fixture(scope="module", params=["llama", "gpt2", "chat"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A backbone and a template: with and without a begin token, with EOS after the answer, and as a chat."""
    place = tmp_path_factory.mktemp("trained") / request.param
    if request.param != "chat":
        return make_tiny(place, request.param), "tallrec" if request.param == "gpt2" else "default"
    make_tiny(place, "llama")
    (place / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return place, "chat"


# ---- LLaMA-Factory ----


def test_llamafactory_finds_a_file_per_split_and_its_ids_are_those_of_tuning(
    tmp_path: Path, source: SampleSet, trained: tuple[Path, str]
) -> None:
    """data/README.md of LLaMA-Factory: `dataset_info.json` names the file and the columns of each data set.

    With ``template: empty`` its user message is the columns `prompt` and `query`, joined by a line break where both
    are there; message and answer are tokenised apart, without the special tokens that tokenizers add.
    """
    backbone, template = trained
    settings = {"backbone": str(backbone), "template": template, "max_length": 300}
    output = export_data(source.path, to="llamafactory", output=tmp_path / "out", **settings)  # type: ignore[arg-type]
    info = json.loads((output / "dataset_info.json").read_text(encoding="ascii"))
    assert list(info) == ["recalign_train", "recalign_valid", "recalign_test"]
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    manifest = read_manifest(output, kind="data-export")
    for split, entry in zip(SPLITS, info.values(), strict=True):
        columns = entry["columns"]
        rows = rows_of(output / entry["file_name"])
        assert [row["sample_id"] for row in rows] == [sample.sample_id for sample in source.samples(split)]
        found = []
        for row in rows:
            message = "\n".join(filter(None, (row[columns["prompt"]], row[columns["query"]])))
            parts = (message, row[columns["response"]])
            found.append([i for part in parts for i in tokenizer.encode(part, add_special_tokens=False)])
        expected = ids_of_tuning(source, split, backbone, template, 300)
        differ = sum(ids != wanted for ids, wanted in zip(found, expected, strict=True))
        assert differ == manifest.info["otherwise"][split] == 0
        assert manifest.info["rows"][split] == len(rows) > 0


# ---- TRL ----


def test_trl_makes_the_ids_of_tuning_of_prompt_and_completion(
    tmp_path: Path, source: SampleSet, trained: tuple[Path, str]
) -> None:
    """TRL's SFTTrainer: EOS after a completion without one, then prompt and completion tokenised as one text."""
    backbone, template = trained
    output = export_data(source.path, to="trl", output=tmp_path / "out", backbone=str(backbone), template=template)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    for split in SPLITS:
        rows = rows_of(output / f"{split}.jsonl")
        assert all(list(row) == ["sample_id", "prompt", "completion"] for row in rows)
        expected = ids_of_tuning(source, split, backbone, template, 512)
        for row, ids in zip(rows, expected, strict=True):
            text = row["prompt"] + row["completion"]
            ended = text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token
            ends = [] if ids[-1] == tokenizer.eos_token_id else [tokenizer.eos_token_id]
            assert tokenizer(ended)["input_ids"] == ids + ends
    assert sum(read_manifest(output).info["otherwise"].values()) == 0


def test_rows_that_a_trainer_tokenises_otherwise_are_counted(
    tmp_path: Path, source: SampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A begin token that the trainer forgets: every row."""
    backbone = make_tiny(tmp_path / "llama")
    monkeypatch.setattr("recalign.tuning.export_prompts.beginning", lambda tokenizer: "")
    output = export_data(source.path, to="llamafactory", output=tmp_path / "out", backbone=str(backbone))
    info = read_manifest(output).info
    assert info["otherwise"] == info["rows"]


@pytest.mark.parametrize(
    ("to", "names"), [("trl", ("prompt", "completion")), ("llamafactory", ("instruction", "output"))]
)
def test_without_a_backbone_the_text_is_that_of_the_template(
    tmp_path: Path, source: SampleSet, to: str, names: tuple[str, str]
) -> None:
    output = export_data(source.path, to=to, output=tmp_path / "out")
    template, catalog = PromptTemplate.load(source.template), source.catalog
    finder = FactFinder(catalog, count_titles([(source, source.frame("train"))]))
    for sample, row in zip(source.samples("train"), rows_of(output / "train.jsonl"), strict=True):
        history, target = catalog.with_texts(sample.history), catalog.text(sample.item_id)
        facts = finder.of(*sample_lists([sample]))[0]
        prompt = template.frame(template.instruction(source.domain, history, target, sample.label, facts))
        assert (row[names[0]], row[names[1]]) == (prompt.context, prompt.answer)
    manifest = read_manifest(output)
    assert manifest.parents == {"data": source.fingerprint}
    assert manifest.config == {"to": to, "template": template.name, "template_version": template.version}
    assert manifest.info["licence"] == source.manifest.info["licence"]
    assert "otherwise" not in manifest.info


def test_no_path_of_this_machine_in_an_export_of_data(tmp_path: Path, source: SampleSet) -> None:
    backbone = make_tiny(tmp_path / "llama")
    for to in ("trl", "llamafactory"):
        export_data(source.path, to=to, output=tmp_path / to, backbone=str(backbone))
    export_data(source.path, to="recbole", output=tmp_path / "recbole")
    written = [path for to in ("trl", "llamafactory", "recbole") for path in (tmp_path / to).iterdir()]
    assert len(written) == 4 + 5 + 6
    assert not [path for path in written if str(tmp_path) in path.read_text(encoding="utf-8")]


# ---- RecBole ----


def atomic(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Types of the fields, and the rows; RecBole's documentation of atomic files, which pandas reads: CSV with tabs."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t"))
    types = dict(field.split(":") for field in rows[0])
    assert set(types.values()) <= {"token", "token_seq", "float", "float_seq"}
    return types, [dict(zip(types, row, strict=True)) for row in rows[1:]]


def test_recbole_reads_samples_and_items(tmp_path: Path, source: SampleSet) -> None:
    output = export_data(source.path, to="recbole", output=tmp_path / "shoes")
    for split in SPLITS:
        types, rows = atomic(output / f"shoes.{split}.inter")
        assert types == {
            **{"user_id": "token", "item_id_list": "token_seq", "label_list": "float_seq", "item_id": "token"},
            **{"label": "float", "rating": "float", "timestamp": "float"},
        }
        for row, sample in zip(rows, source.samples(split), strict=True):
            assert (row["user_id"], row["item_id"], float(row["label"])) == (
                sample.user_id,
                sample.item_id,
                sample.label,
            )
            assert row["item_id_list"].split(" ") == [entry.item_id for entry in sample.history]
            assert row["label_list"].split(" ") == [str(int(entry.liked)) for entry in sample.history]
            assert sample.timestamp is not None
            assert float(row["timestamp"]) == pytest.approx(sample.timestamp / 1e6)
    types, rows = atomic(output / "shoes.item")
    assert types == {"item_id": "token", "title": "token_seq", "year": "token", "genres": "token_seq"}
    assert [(row["item_id"], row["title"]) for row in rows] == [
        (i, source.catalog.title(i)) for i in source.catalog.ids
    ]
    settings = (output / "recbole.yaml").read_text(encoding="utf-8")
    assert "benchmark_filename: [train, valid, test]\n" in settings
    assert "alias_of_item_id: [item_id_list]\n" in settings
    assert "  inter: [user_id, item_id_list, label_list, item_id, label, timestamp]\n" in settings  # no rating


def changed(data: SampleSet, monkeypatch: pytest.MonkeyPatch, **changes: pl.Expr) -> None:
    """Make an export see items or samples with other columns."""
    frame = data.frame().with_columns(**{name: change for name, change in changes.items() if name != "title"})
    items = data.catalog.frame.with_columns(**{name: change for name, change in changes.items() if name != "user_id"})
    catalog = ItemCatalog(items.with_columns(text=pl.col("title")))
    other = SampleSet(data.path, data.manifest, frame, catalog)
    monkeypatch.setattr(module.SampleSet, "load", lambda path: other)


def test_titles_with_quotes_and_tabs_stay_whole(
    tmp_path: Path, source: SampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(source, monkeypatch, title=pl.lit('"Heat"\tand "rain\'s\n end"'))
    output = export_data(source.path, to="recbole", output=tmp_path / "out")
    _, rows = atomic(output / "out.item")
    assert {row["title"] for row in rows} == {'"Heat" and "rain\'s end"'}


def test_an_id_that_recbole_cannot_read_is_refused(
    tmp_path: Path, source: SampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(source, monkeypatch, user_id=pl.lit("NA"))
    assert_refused(DataError, "user id 'NA'; expected an id that RecBole does not take for a missing", source, tmp_path)
    changed(source, monkeypatch, item_id=pl.concat_str(pl.lit("a "), pl.col("item_id")))
    assert_refused(DataError, "item id 'a m0000'; expected ids without blanks", source, tmp_path)


# ---- refusals ----


def assert_refused(kind: type[RecalignError], match: str, data: SampleSet, folder: Path, **options: Any) -> None:
    with pytest.raises(kind, match=match) as caught:
        export_data(data.path, **{"to": "recbole", "output": folder / "out", **options})
    assert "\n" not in str(caught.value)
    assert not [path for path in folder.iterdir() if "out" in path.name]


def test_what_cannot_be_exported(tmp_path: Path, source: SampleSet) -> None:
    assert_refused(ConfigError, "export to 'csv'; expected llamafactory, trl, recbole", source, tmp_path, to="csv")
    assert_refused(ConfigError, "--template of an export to recbole; expected none", source, tmp_path, template="chat")
    assert_refused(
        ConfigError, "--max-length of an export to trl; .*--backbone", source, tmp_path, to="trl", max_length=99
    )
    assert_refused(
        ConfigError, "chat.*needs the chat template.*--backbone", source, tmp_path, to="trl", template="chat"
    )
    missing = str(tmp_path / "nowhere")
    assert_refused(ModelError, "nowhere", source, tmp_path, to="trl", backbone=missing)


def test_prepared_data_are_wanted(tmp_path: Path, backbone: BackboneConfig) -> None:
    with pytest.raises(ArtifactError, match="is no artefact of recalign"):
        export_data(backbone.name, to="trl", output=tmp_path / "out")


def test_an_export_of_data_is_kept_or_replaced_whole(tmp_path: Path, source: SampleSet) -> None:
    output, told = export_data(source.path, to="recbole", output=tmp_path / "out"), list[str]()
    assert export_data(source.path, to="recbole", output=output, note=told.append) == output
    assert told == [f"already exported from these inputs and settings: {output}"]
    with pytest.raises(ArtifactError, match=r"exists already.*--overwrite"):
        export_data(source.path, to="trl", output=output)
    assert (output / "recbole.yaml").exists()
    export_data(source.path, to="trl", output=output, overwrite=True)
    assert not (output / "recbole.yaml").exists()
    with pytest.raises(ArtifactError, match="will not overwrite"):
        export_data(source.path, to="trl", output=source.path, overwrite=True)


def test_the_same_data_give_the_same_bytes(tmp_path: Path, source: SampleSet) -> None:
    def made(name: str) -> Manifest:
        return read_manifest(export_data(source.path, to="trl", output=tmp_path / name))

    assert made("a").fingerprint == made("b").fingerprint
