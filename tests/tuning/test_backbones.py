"""Backbones that are made from data are plug-ins; any other name is left alone."""

from __future__ import annotations

import importlib.metadata

import pytest

from recalign.data.samples import SampleSet
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.tuning.backbones import BACKBONES, BackboneData, BackbonePlugin, resolve_backbone


def third_party(config: BackboneConfig, data: BackboneData) -> BackboneConfig:
    return config.model_copy(update={"name": f"built-from-{data.sources[0].path.name}"})


PLUGIN = BackbonePlugin(third_party)


def test_nano_is_the_built_in_one() -> None:
    assert BACKBONES.names()[0] == "nano"
    assert isinstance(BACKBONES.find("nano"), BackbonePlugin)


def test_a_backbone_of_another_package_is_resolved_by_its_name(
    monkeypatch: pytest.MonkeyPatch, source: SampleSet
) -> None:
    entry = importlib.metadata.EntryPoint("mine", "tests_backbones:PLUGIN", "recalign.backbones")
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda self: PLUGIN)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    asked = BackboneConfig(name="mine", device="cpu")
    assert resolve_backbone(asked, NanoConfig(), [source]).name == "built-from-source"
    other = BackboneConfig(name="someone/model")
    assert resolve_backbone(other, NanoConfig(), [source]) is other
