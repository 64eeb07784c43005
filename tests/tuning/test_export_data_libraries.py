"""Data for other libraries, read by these libraries themselves."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer

from recalign.data.samples import SampleSet
from recalign.data.schema import SPLITS
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.testing.tiny import make_tiny
from recalign.tuning.export_data import export_data

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]  # of other libraries


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("libraries") / "llama", "llama")


def of_tuning(data: SampleSet, place: Path, template: str) -> list[EncodedPrompt]:
    encoder = PromptEncoder(
        PromptTemplate.load(template), data.domain, AutoTokenizer.from_pretrained(place), max_length=512
    )
    samples = data.samples("train")
    return encoder.encode_many(
        [data.catalog.with_texts(sample.history) for sample in samples],
        [data.catalog.text(sample.item_id) for sample in samples],
        [sample.label for sample in samples],
    )


def test_trl_trains_on_the_ids_of_tuning(tmp_path: Path, source: SampleSet, place: Path) -> None:
    trl = pytest.importorskip("trl", reason="trl is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    output = export_data(source.path, to="trl", output=tmp_path / "out", backbone=str(place), template="tallrec")
    files = {"train": str(output / "train.jsonl")}
    rows = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    settings = trl.SFTConfig(output_dir=str(tmp_path / "run"), max_length=512, report_to=[], use_cpu=True, bf16=False)
    trainer = trl.SFTTrainer(model=str(place), args=settings, train_dataset=rows)
    for row, prompt in zip(trainer.train_dataset, of_tuning(source, place, "tallrec"), strict=True):
        assert tuple(row["input_ids"]) == prompt.ids
        assert tuple(row["labels"]) == prompt.labels


def test_llamafactory_trains_on_the_ids_of_tuning(tmp_path: Path, source: SampleSet, place: Path) -> None:
    parser = pytest.importorskip("llamafactory.data.parser", reason="llamafactory is not installed")
    from llamafactory.data.converter import AlpacaDatasetConverter
    from llamafactory.data.template import TEMPLATES

    output = export_data(
        source.path, to="llamafactory", output=tmp_path / "out", backbone=str(place), template="tallrec"
    )
    (entry,) = parser.get_dataset_list(["recalign_train"], str(output))
    tokenizer, template = AutoTokenizer.from_pretrained(place), TEMPLATES["empty"]
    convert = AlpacaDatasetConverter(dataset_attr=entry, data_args=SimpleNamespace())
    rows = [json.loads(line) for line in (output / entry.dataset_name).read_text(encoding="utf-8").splitlines()]
    for row, prompt in zip(rows, of_tuning(source, place, "tallrec"), strict=True):
        turns = convert(row)
        ((asked, answered),) = template.encode_multiturn(tokenizer, turns["_prompt"] + turns["_response"], None, None)
        assert (*asked, *answered) == prompt.ids
        assert len(asked) == prompt.answer_start


@pytest.mark.parametrize("model", ["GRU4Rec", "FM"])
def test_recbole_reads_the_samples(
    tmp_path: Path, source: SampleSet, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    if int(pandas.__version__.split(".")[0]) > 2:
        pytest.skip("RecBole 1.2.1 needs pandas below 3")
    old = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "bool8": np.bool_, "float": float}
    for name, kind in old.items():  # names of NumPy 1, which RecBole 1.2.1 uses
        monkeypatch.setattr(np, name, kind, raising=False)
    pytest.importorskip("recbole", reason="recbole is not installed")
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    output = export_data(source.path, to="recbole", output=tmp_path / "shoes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recbole"])
    options = {"data_path": str(tmp_path), "use_gpu": False, "train_neg_sample_args": None}
    if model == "FM":
        options |= {"eval_args": {"mode": "labeled"}, "metrics": ["AUC"], "valid_metric": "AUC"}
    config = Config(model, "shoes", config_file_list=[str(output / "recbole.yaml")], config_dict=options)
    data = create_dataset(config)
    loaders = data_preparation(config, data)
    for split, loader in zip(SPLITS, loaders, strict=True):
        rows = loader.dataset.inter_feat
        samples = {(sample.user_id, sample.item_id): sample for sample in source.samples(split)}
        assert len(rows) == len(samples)
        for user, item, label, history in zip(
            *(rows[name].tolist() for name in ("user_id", "item_id", "label", "item_id_list")), strict=True
        ):
            sample = samples[data.id2token("user_id", user), data.id2token("item_id", item)]
            assert label == sample.label
            shown = [data.id2token("item_id", entry) for entry in history if entry]
            assert shown == [entry.item_id for entry in sample.history]
