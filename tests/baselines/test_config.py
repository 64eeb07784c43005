"""Which baselines there are, and the names under which their settings are stored."""

from __future__ import annotations

import pytest

from recalign.artifacts import fingerprint
from recalign.baselines.config import BaselineConfig
from recalign.baselines.networks import BASELINES


def test_stored_settings_keep_their_fingerprint_and_come_back() -> None:
    """Results are stored under this fingerprint: a baseline that was trained earlier must not seem to be another."""
    stored = BaselineConfig(model="gru4rec").stored()
    assert fingerprint(stored) == "e7d715e31bfe8e0787bbc67b9ee73f36b040203bbb6855ecad50b0a956f4364e"
    config = BaselineConfig(model="sasrec", max_history=7, width=16)
    assert config.stored()["history"] == 7
    assert BaselineConfig.from_stored(config.stored()) == config


def test_every_baseline_has_its_own_title() -> None:
    titles = {name: plugin.title for name, plugin in BASELINES.all()}
    assert titles == {
        "caser": "Caser",
        "dros": "DROS",
        "dros-bert": "DROS-BERT",
        "gru-bert": "GRU-BERT",
        "gru4rec": "GRU4Rec",
        "sasrec": "SASRec",
    }
    assert {name for name, plugin in BASELINES.all() if plugin.text} == {"dros-bert", "gru-bert"}
    assert {name for name, plugin in BASELINES.all() if plugin.robust} == {"dros", "dros-bert"}
    assert BaselineConfig(model="sasrec").depth == 2


def test_an_unknown_baseline_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown baseline 'gru4'; expected caser.*Did you mean gru4rec"):
        BaselineConfig(model="gru4")
