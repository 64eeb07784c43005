"""Linear layers through oneDNN: the same numbers and gradients as PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from recalign.models.onednn import OneDnnLinear, accelerate_linears


def layers(bias: bool) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias)
    fast = copy.deepcopy(plain)
    assert accelerate_linears(nn.Sequential(fast)) == 1
    return plain, fast


def is_close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two tensors are equal but for float32 rounding, which is of the size of the largest entry."""
    if expected.numel() == 0:
        return found.shape == expected.shape
    return bool((found - expected).abs().max() <= 2e-6 * expected.abs().max())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (2, 5, 24), (0, 24)])
def test_products_and_gradients_are_those_of_pytorch(bias: bool, shape: tuple[int, ...]) -> None:
    plain, fast = layers(bias)
    x = torch.randn(shape)
    found, expected = [], []
    for layer, results in ((plain, expected), (fast, found)):
        given = x.clone().requires_grad_()
        y = layer(given)
        (y * torch.arange(y.numel()).view_as(y)).sum().backward()
        results += [y.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())]
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert is_close(other, one)


def test_strided_input_is_taken() -> None:
    plain, fast = layers(True)
    x = torch.randn(24, 9, 2).permute(2, 1, 0)
    assert is_close(fast(x), plain(x))
    assert is_close(fast(x[0]), plain(x[0]))


def test_frozen_weights_get_no_gradient() -> None:
    _, fast = layers(True)
    fast.requires_grad_(False)
    x = torch.randn(3, 24, requires_grad=True)
    fast(x).sum().backward()
    assert x.grad is not None
    assert fast.weight.grad is None


def test_other_types_and_autocast_take_the_usual_path() -> None:
    plain, fast = layers(True)
    x = torch.randn(3, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(x).dtype == torch.bfloat16
        assert torch.equal(fast(x), plain(x))
    assert torch.equal(fast.double()(x.double()), plain.double()(x.double()))


def test_only_plain_layers_change_and_names_stay() -> None:
    class Special(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(2, 2), Special(2, 2), nn.LayerNorm(2))
    before = list(model.state_dict())
    assert accelerate_linears(model) == 1
    assert [type(module) for module in model] == [OneDnnLinear, Special, nn.LayerNorm]
    assert list(model.state_dict()) == before
    assert accelerate_linears(model) == 0
