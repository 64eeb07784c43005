"""Text encoders: the CLS embedding, alone and together; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from recalign.baselines.text_encoder import TextEncoder
from recalign.errors import ModelError

TEXTS = ["Title number 3", "Title", "number 3 4 5 6", "Title number 4", "never seen words"]


@pytest.fixture
def copy(encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder, tmp_path / "copy"))


def test_it_is_the_last_layer_at_the_first_token(encoder: Path) -> None:
    found = TextEncoder(str(encoder)).encode(["Title number 3"])
    model = AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[2, 4, 5, 9, 3]])).last_hidden_state[:, 0]
    torch.testing.assert_close(found, expected)


def test_a_text_does_not_depend_on_the_others(encoder: Path) -> None:
    loaded = TextEncoder(str(encoder))
    together = loaded.encode(TEXTS)
    assert together.shape == (5, loaded.width)
    for place, text in enumerate(TEXTS):
        gap = (loaded.encode([text])[0] - together[place]).abs().max()
        assert float(gap) <= 1e-5 * float(together[place].abs().max())
    assert not torch.allclose(together[0], together[3])


def test_control_tokens_in_a_title_stay_text(encoder: Path) -> None:
    loaded = TextEncoder(str(encoder))
    with_token = loaded.encode(["Title [SEP] number"])
    assert not torch.allclose(with_token, loaded.encode(["Title number"]))  # it is not dropped
    model = AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        harmful = model(input_ids=torch.tensor([[2, 4, 3, 5, 3]])).last_hidden_state[:, 0]
    assert not torch.allclose(with_token, harmful)


def test_long_texts_lose_their_end(encoder: Path) -> None:
    loaded = TextEncoder(str(encoder))
    words = ["Title"] * 100
    torch.testing.assert_close(loaded.encode([" ".join(words)]), loaded.encode([" ".join(words[:50])]))


def test_the_fingerprint_is_that_of_the_content(encoder: Path, copy: Path) -> None:
    assert TextEncoder(str(copy)).fingerprint == TextEncoder(str(encoder)).fingerprint


def edit(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_no_encoder_is_refused_before_it_is_loaded(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        TextEncoder(str(tmp_path / "none"))
    edit(copy, model_type="own", auto_map={"AutoModel": "code.Model"})
    with pytest.raises(ModelError, match=r"found model_type 'own'.*never runs code"):
        TextEncoder(str(copy))
    edit(copy, model_type="t5", is_encoder_decoder=True)
    with pytest.raises(ModelError, match="expected an encoder such as BERT"):
        TextEncoder(str(copy))
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no readable config\.json"):
        TextEncoder(str(copy))


def test_pickled_incomplete_and_missing_weights_are_refused(copy: Path) -> None:
    edit(copy, num_hidden_layers=2)
    with pytest.raises(ModelError, match="missing tensors"):
        TextEncoder(str(copy))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no model\.safetensors.*expected safetensors weights"):
        TextEncoder(str(copy))


def test_mean_vectors_are_means_over_the_tokens(encoder: Path) -> None:
    found = TextEncoder(str(encoder)).mean_vectors(["Title", "Title number 3"])
    model = AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[2, 4, 5, 9, 3]])).last_hidden_state[0].mean(dim=0)
    torch.testing.assert_close(torch.from_numpy(found[1]), expected)
