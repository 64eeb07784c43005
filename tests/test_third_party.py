"""Another package adds a plug-in of each kind through entry points, and it is used like a built-in one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from recalign.artifacts import read_manifest
from recalign.baselines.artifact import load_baseline, train_baseline
from recalign.baselines.config import BaselineConfig
from recalign.baselines.networks import BASELINES
from recalign.cot.config import TeachConfig
from recalign.cot.teach import teach
from recalign.cot.teachers import TEACHERS, make_teacher
from recalign.data.catalog import ItemCatalog
from recalign.data.readers import READERS
from recalign.data.samples import HistoryEntry, SampleSet
from recalign.data.schema import ITEMS
from recalign.errors import ArtifactError, TeacherError
from recalign.evaluation.evaluate import evaluate
from recalign.evaluation.metric import METRICS
from recalign.evaluation.tables import results_table
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.experiment.tune import tune
from recalign.plugins import PluginGroup
from recalign.prompting.template import TEMPLATES, PromptTemplate
from recalign.retrieval.base import Retriever
from recalign.retrieval.index import Index, build_index
from recalign.retrieval.retrievers import RETRIEVERS, Material, StoredRetriever
from recalign.retrieval.stock import Stock
from recalign.scoring.base import sample_lists
from recalign.testing.contracts import RetrieverContract
from recalign.testing.tiny import make_tiny
from recalign.tuning.backbones import BACKBONES
from recalign.tuning.model_artifact import backbone_of

NAME = "acme_recalign"
ENTRY_POINTS = f"""
[recalign.readers]
acme-shop = {NAME}.reader:PLUGIN
[recalign.baselines]
acme-mean = {NAME}.baseline:PLUGIN
[recalign.teachers]
acme-sage = {NAME}.teacher:PLUGIN
[recalign.templates]
acme-short = {NAME}.template:PLUGIN
[recalign.metrics]
acme-shyness = {NAME}.metric:PLUGIN
[recalign.backbones]
acme-tiny = {NAME}.backbone:PLUGIN
[recalign.retrievers]
acme-new = {NAME}.retriever:PLUGIN
"""
MODULES = {
    "__init__.py": "",
    "reader.py": """
from pathlib import Path

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import sift, sift_ratings
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.parsing.records import pattern_rows
from recalign.data.reader import Defaults, RatingsReader
from recalign.data.source import SourceData, SourceOptions

LICENCE = "Acme only"


def read(path: Path, options: SourceOptions) -> SourceData:
    builder = SourceBuilder()
    tally = builder.file(path / "shoes.txt")
    for rows in pattern_rows(tally, r"(?P<item_id>[^|]*)[|](?P<title>.*)"):
        builder.add_items(sift(rows, fields.item_checks(), tally), tally)
    tally = builder.file(path / "stars.txt")
    for rows in pattern_rows(tally, r"(?P<user_id>[^|]*)[|](?P<item_id>[^|]*)[|](?P<rating>[^|]*)[|](?P<timestamp>.*)"):
        builder.add_ratings(sift_ratings(rows, fields.rating_checks(1, 5, 1), tally), tally)
    return builder.build(LICENCE)


PLUGIN = RatingsReader(licence=LICENCE, defaults=Defaults("shoe", 3, protocol="temporal"), read=read)
""",
    "baseline.py": """
import torch
from torch import Tensor, nn

from recalign.baselines.config import BaselineConfig
from recalign.baselines.networks import BaselinePlugin


class Mean(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.width = inputs

    def forward(self, entries: Tensor) -> Tensor:
        return entries.mean(dim=1)


def encoder(config: BaselineConfig, inputs: int) -> Mean:
    return Mean(inputs)


PLUGIN = BaselinePlugin(title="Acme mean", encoder=encoder, width=8)
""",
    "teacher.py": """
from recalign.cot.teachers import TeacherPlugin
from recalign.llm.base import Completion, Question, Usage
from recalign.llm.config import ClientConfig


class Sage:
    ledgered, max_concurrency = True, 1

    def __init__(self, model: str, config: ClientConfig) -> None:
        self.name, self.settings = f"acme-sage:{model}", {"model": model}

    async def complete(self, question: Question) -> Completion:
        return Completion("Yes, the user likes shoes.", usage=Usage(3, 2))

    async def close(self) -> None:
        pass


PLUGIN = TeacherPlugin(model="WORD", language_model=Sage)
""",
    "metric.py": """
from recalign.evaluation.metric import Metric, Observed, Value


def value(observed: Observed) -> Value:
    return Value(float((observed.frame["score"].to_numpy() < 0).mean()))


PLUGIN = Metric("Shy", "Share of scores below zero.", value, higher_is_better=False, digits=2)
""",
    "backbone.py": """
import os

from recalign.models.config import BackboneConfig
from recalign.tuning.backbones import BackboneData, BackbonePlugin


def resolve(config: BackboneConfig, data: BackboneData) -> BackboneConfig:
    return config.model_copy(update={"name": os.environ["ACME_CHECKPOINT"]})


PLUGIN = BackbonePlugin(resolve)
""",
    "retriever.py": """
import numpy as np

from recalign.retrieval.exact import ExactRetriever
from recalign.retrieval.retrievers import RetrieverPlugin


class Newest(ExactRetriever):
    name = "acme-new"

    def scores(self, history):
        return np.arange(1, len(self.stock) + 1, dtype=np.float32)

    def over(self, stock):
        return type(self)(stock)

    def arrays(self):
        return {"nothing": np.zeros(1)}

    @classmethod
    def restored(cls, arrays, stock):
        return cls(stock)


def fit(material):
    return Newest(material.stock)


PLUGIN = RetrieverPlugin(fit=fit, read=Newest.read)
""",
    "template.py": """
from importlib.resources import files

from recalign.prompting.template import TemplatePlugin

PLUGIN = TemplatePlugin(files(__package__) / "short.toml")
""",
    "short.toml": """
name = "acme-short"
version = 1
description = "As short as can be"
[wording.en]
instruction = "Will they {{ verb }} it?"
input = "{{ liked | join(', ') }} -> {{ target }}"
output = "{{ yes if label else no }}"
""",
}


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with its metadata, as an installer leaves them in site-packages; nothing is downloaded."""
    site = tmp_path / "site-packages"
    for name, text in MODULES.items():
        file = site / NAME / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    metadata = site / f"{NAME}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield site / NAME
    for module in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[module]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Ratings in a format that only the package's reader knows."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shoes.txt").write_text("".join(f"s{shoe}|Shoe {shoe}\n" for shoe in range(9)), encoding="utf-8")
    stars = [f"u{user}|s{shoe}|{1 + (user + shoe) % 5}|{100 * shoe + user}" for user in range(20) for shoe in range(9)]
    (folder / "stars.txt").write_text("\n".join([*stars, "torn"]), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (READERS, "acme-shop"),
        (BASELINES, "acme-mean"),
        (TEACHERS, "acme-sage"),
        (TEMPLATES, "acme-short"),
        (METRICS, "acme-shyness"),
        (BACKBONES, "acme-tiny"),
        (RETRIEVERS, "acme-new"),
    ],
)
def test_a_plugin_is_listed_after_the_built_in_ones(acme: Path, group: PluginGroup[object], name: str) -> None:
    assert group.names()[-1] == name
    assert NAME not in sys.modules
    assert isinstance(group.find(name), group.record)


def test_without_the_package_its_plugins_are_unknown() -> None:
    for group in (READERS, BASELINES, TEACHERS, TEMPLATES, METRICS, BACKBONES, RETRIEVERS):
        assert not [name for name in group.names() if name.startswith("acme")]


def prepared(shop: Path, output: Path) -> SampleSet:
    config = PrepareConfig.build(dataset="acme-shop", input=shop, template="acme-short", output=output)
    return SampleSet.load(prepare(config))


def test_its_reader_and_template_prepare_data(acme: Path, shop: Path, tmp_path: Path) -> None:
    data = prepared(shop, tmp_path / "data")
    assert (data.domain.noun, data.template) == ("shoe", "acme-short")
    assert data.manifest.config["protocol"]["name"] == "temporal"
    assert (data.manifest.info["licence"], sum(data.manifest.info["rejects"].values())) == ("Acme only", 1)
    [sample] = data.samples("test")[:1]
    prompt = PromptTemplate.load("acme-short").instruction(
        data.domain, data.catalog.with_texts(sample.history), data.catalog.text(sample.item_id), sample.label
    )
    assert prompt.instruction == "Will they like it?"
    assert prompt.input.endswith(f"-> {data.catalog.text(sample.item_id)}")
    assert f'"input": "{prompt.input}"' in (tmp_path / "data" / "test.jsonl").read_text(encoding="utf-8")


def test_its_baseline_is_trained_and_scores(acme: Path, shop: Path, tmp_path: Path) -> None:
    data = prepared(shop, tmp_path / "data")
    config = BaselineConfig(model="acme-mean", max_steps=20, weight_decays=(1e-5,), embedding=8)
    train_baseline(data, config, tmp_path / "mean")
    assert read_manifest(tmp_path / "mean").config["baseline"]["model"] == "acme-mean"
    scorer = load_baseline(tmp_path / "mean", data)
    assert config.plugin.title == "Acme mean"
    assert scorer.score(sample_lists(data.samples("test")[:3])).flat().shape == (3,)


def test_its_teacher_is_asked(acme: Path, shop: Path, tmp_path: Path) -> None:
    data = prepared(shop, tmp_path / "data")
    config = TeachConfig(teacher="acme-sage:calm", limit=4)
    # It says the same whatever it is asked: the first answer is taken, and what must name items is not.
    with pytest.raises(TeacherError, match=r"no sample was kept.*stage 2: off-schema"):
        teach(data, make_teacher(data, config), config, tmp_path / "cot")


def test_its_metric_stands_in_the_table(acme: Path, shop: Path, tmp_path: Path) -> None:
    panel = evaluate(["prior:like-rate"], prepared(shop, tmp_path / "data"), resamples=50)
    share = panel.rows[0].mean("acme-shyness")
    assert share is not None
    assert 0 <= share <= 1
    table = results_table(panel)
    place = [column.heading for column in table.columns].index("Shy")
    assert table.rows[0].cells[place].text == f"{share:.2f}"


def test_its_retriever_is_part_of_an_index(
    acme: Path, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepared(shop, tmp_path / "data")
    index = build_index(data, also=["acme-new"])
    assert [retriever.name for retriever in index.retrievers] == ["popularity", "item-item", "bm25", "acme-new"]
    assert set(index.choice.weights) == set(index.choice.recall) - {"fused"} == {each.name for each in index.retrievers}
    directory = tmp_path / "index"
    assert index.write(directory).info["packages"] == {"acme-new": NAME}
    again = Index.load(directory)
    for sample in data.samples("test")[:5]:
        assert again.retrieve(sample.past, 9).item_ids == index.retrieve(sample.past, 9).item_ids
    assert [retriever.name for retriever in build_index(data).retrievers] == ["popularity", "item-item", "bm25"]
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(acme.parent)])
    with pytest.raises(ArtifactError, match=rf"retriever acme-new of package {NAME}.*pip install {NAME}"):
        Index.load(directory)


@pytest.mark.usefixtures("acme")
class TestItsRetriever(RetrieverContract):
    @pytest.fixture
    def catalog(self) -> ItemCatalog:
        rows = [(str(item), f"Shoe {item}", None, None, None) for item in range(6)]
        return ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")

    @pytest.fixture
    def histories(self) -> list[list[HistoryEntry]]:
        return [[HistoryEntry("1", True)], [HistoryEntry("5", False), HistoryEntry("2", True)]]

    @pytest.fixture
    def retriever(self, acme: Path, catalog: ItemCatalog) -> Retriever:
        found = RETRIEVERS.find("acme-new").fit(Material(Stock(catalog)))
        assert isinstance(found, StoredRetriever)
        return found


def test_its_backbone_is_tuned(acme: Path, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(shop, tmp_path / "data")
    checkpoint = make_tiny(tmp_path / "checkpoint")
    monkeypatch.setenv("ACME_CHECKPOINT", str(checkpoint))
    settings = {"max_steps": 1, "batch_size": 2, "shots": 2}
    model = tune([data.path], tmp_path / "model", backbone="acme-tiny", settings=settings)
    assert Path(backbone_of(model).name) == checkpoint.resolve()
