from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recalign.models.adapter import attach
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig, LoraSettings
from recalign.models.forward import generate
from recalign.testing.tiny import ARCHITECTURES, make_tiny

PROMPT = [7, 300, 21, 33, 290, 11]
LENGTH = 12


def load(directory: Path) -> object:
    return load_backbone(BackboneConfig(name=str(directory), device="cpu", dtype="float32"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lora", [False, True])
def test_each_token_is_the_likeliest_after_all_before_it(tmp_path: Path, architecture: str, lora: bool) -> None:
    backbone = load(make_tiny(tmp_path / "tiny", architecture))
    model = backbone.model  # type: ignore[attr-defined]
    if lora:
        model = attach(backbone, "lora", LoraSettings(r=2, dropout=0.5), None)  # type: ignore[arg-type]
    written = generate(model, PROMPT, most=LENGTH, ends=())
    assert len(written.ids) == LENGTH
    assert not written.ended
    assert not model.training
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*PROMPT, *written.ids]])).logits[0]
    assert logits[len(PROMPT) - 1 : -1].argmax(-1).tolist() == list(written.ids)
    assert generate(model, PROMPT, most=LENGTH, ends=()) == written


def test_it_stops_at_an_end_token_which_is_no_part_of_the_answer(tmp_path: Path) -> None:
    model = load(make_tiny(tmp_path / "tiny")).model  # type: ignore[attr-defined]
    free = generate(model, PROMPT, most=LENGTH, ends=()).ids
    stopped = generate(model, PROMPT, most=LENGTH, ends=(free[3],))
    assert stopped.ended
    assert stopped.ids == free[: free.index(free[3])]
    assert generate(model, PROMPT, most=0, ends=()).ids == ()


def test_generation_settings_of_a_checkpoint_change_nothing(tmp_path: Path) -> None:
    model = load(make_tiny(tmp_path / "tiny")).model  # type: ignore[attr-defined]
    free = generate(model, PROMPT, most=LENGTH, ends=())
    model.generation_config.suppress_tokens = [free.ids[0]]
    model.generation_config.repetition_penalty = 5.0
    assert generate(model, PROMPT, most=LENGTH, ends=()) == free
