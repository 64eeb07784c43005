"""What each network must and must not depend on."""

from __future__ import annotations

import pytest
import torch

from recalign.baselines.config import BaselineConfig
from recalign.baselines.network import ItemFeatures, Network
from recalign.baselines.networks.caser import PLUGIN as CASER
from recalign.baselines.networks.caser import Caser
from recalign.baselines.networks.gru4rec import Gru4Rec
from recalign.baselines.networks.sasrec import SasRec

ENCODERS = {
    "gru4rec": lambda: Gru4Rec(6, 8, 1),
    "gru-layers": lambda: Gru4Rec(6, 8, 3),
    "caser": lambda: Caser(6, 5, 8, 16, (2, 3, 4), 0.1),
    "sasrec": lambda: SasRec(6, 5, 8, 2, 1, 0.1),
    "sasrec-heads": lambda: SasRec(6, 5, 8, 1, 4, 0.1),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_state_depends_on_every_entry_on_their_order_and_on_nothing_else(name: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]().eval()
    entries = torch.randn(3, 5, 6)
    states = encoder(entries)
    assert states.shape == (3, encoder.width)
    torch.testing.assert_close(encoder(entries[1:2]), states[1:2])  # not on the rest of the batch
    for place in range(5):
        changed = entries.clone()
        changed[0, place] += 1.0
        found = encoder(changed)
        assert not torch.allclose(found[0], states[0], atol=1e-6), place
        torch.testing.assert_close(found[1:], states[1:])
    assert not torch.allclose(encoder(entries.flip(1)), states, atol=1e-6)


def test_caser_by_hand() -> None:
    """One filter of height 2 that adds, one vertical filter that takes the last entry."""
    caser = Caser(inputs=1, length=3, width=2, filters=1, heights=(2,), dropout=0.0)
    with torch.no_grad():
        caser.horizontal[0].weight.fill_(1.0)  # type: ignore[union-attr]
        caser.horizontal[0].bias.zero_()  # type: ignore[union-attr]
        caser.vertical.weight.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
        caser.vertical.bias.zero_()
        caser.dense.weight.copy_(torch.eye(2))
        caser.dense.bias.zero_()
    assert caser(torch.tensor([[[1.0], [4.0], [2.0]]])).tolist() == [[6.0, 2.0]]  # max(1 + 4, 4 + 2), last


def test_caser_filters_are_those_of_the_paper() -> None:
    encoder = CASER.encoder(BaselineConfig(model="caser"), 80)
    assert isinstance(encoder, Caser)
    assert [tuple(each.weight.shape) for each in encoder.horizontal] == [(16, 80, h) for h in (2, 3, 4)]  # type: ignore[union-attr]
    assert encoder.vertical.weight.shape == (1, 10)


def test_text_models_are_four_layers_of_1024_units() -> None:
    config = BaselineConfig(model="dros-bert")
    assert (config.state_width, config.depth, config.text, config.plugin.robust) == (1024, 4, True, True)
    plain = BaselineConfig(model="gru4rec")
    assert (plain.state_width, plain.depth, plain.text, plain.plugin.robust) == (64, 1, False, False)
    assert BaselineConfig(model="gru-bert", width=32, layers=2).state_width == 32


def test_heights_above_the_length_are_cut() -> None:
    assert Caser(6, 2, 8, 16, (2, 3, 4), 0.0).eval()(torch.randn(3, 2, 6)).shape == (3, 8)


@pytest.mark.parametrize("model", ["gru4rec", "caser", "sasrec"])
def test_feedback_text_and_candidate_all_matter(model: str) -> None:
    torch.manual_seed(0)
    network = Network(BaselineConfig.model_validate({"model": model, "item_scale": 1.0}), 9, text_width=4).eval()
    items, text = torch.randint(0, 10, (1, 10)), torch.randn(1, 10, 4)
    liked = torch.full((1, 10), 2)
    state = network.states(ItemFeatures(items, text), liked)
    assert not torch.allclose(network.states(ItemFeatures(items, text), torch.ones_like(liked)), state)
    assert not torch.allclose(network.states(ItemFeatures(items, text + 1), liked), state)
    assert not torch.allclose(network.states(ItemFeatures((items + 1) % 10, text), liked), state)
    candidate = ItemFeatures(torch.tensor([3]), torch.randn(1, 4))
    logit = network.logits(state, candidate)
    assert logit.shape == (1,)
    assert not torch.allclose(network.logits(state, ItemFeatures(torch.tensor([4]), candidate.text)), logit)
    assert candidate.text is not None
    assert not torch.allclose(network.logits(state, ItemFeatures(candidate.rows, candidate.text + 1)), logit)
