"""A model divided among processes (PyTorch's FSDP2), for backbones that one device does not hold.

Each process has a part of every tensor. A layer is put together when it computes, and taken apart after.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from recalign.errors import ModelError
from recalign.models.backbone import resolve_device, resolve_dtype
from recalign.models.config import BackboneConfig
from recalign.tuning.world import Group


class ShardedGroup(Group):
    """One of several processes, with its part of the model."""

    def loading(self, config: BackboneConfig) -> BackboneConfig:
        """To main memory, from where its part goes to the device.

        Raises:
            ModelError: Quantised weights cannot be divided.
        """
        if config.quantization is not None:
            found = f"quantization {config.quantization}"
            raise ModelError("a model divided among processes", found=found, expected="unquantised weights")
        dtype = resolve_dtype(config.dtype, resolve_device(config.device))
        return config.model_copy(update={"device": "cpu", "dtype": str(dtype).removeprefix("torch.")})

    def divide(self, model: nn.Module, device: str) -> None:
        # Nothing here changes logits in place, which this warns of.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
        mesh = init_device_mesh(resolve_device(device).type, (self.size,))
        base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        for module in list(model.modules()):
            if type(module).__name__ in (base._no_split_modules or ()):
                fully_shard(module, mesh=mesh)
        # By default the outermost tensors stay whole after a pass without gradients; the next would find them stale.
        fully_shard(model, mesh=mesh, reshard_after_forward=True)

    def backward(self, loss: Tensor) -> None:
        """FSDP2 averages the gradients, so the sum over the processes is the average of as many times the loss."""
        super().backward(loss * self.size)

    def reduce(self, parameters: Iterable[nn.Parameter]) -> None:
        """Done by FSDP2 in the backward pass."""

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Each process has other parts."""

    def idle(self, passes: int) -> int:
        """Every pass is made by all processes together."""
        return int(max(count for (count,) in self.gather(passes))) - passes

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return super().part(whole, like)
        whole = whole.to(like.device)
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)

    def whole(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One after the other, to the main memory of the first process; the others keep nothing."""
        tensors: dict[str, Tensor] = {}
        for name, tensor in parts.items():
            full = tensor
            if isinstance(tensor, DTensor):
                with self.together():
                    full = tensor.full_tensor()
            if self.rank == 0:
                tensors[name] = full.detach().cpu()
        return tensors

    def collect(self, model: nn.Module) -> None:
        names = {id(tensor): name for name, tensor in model.named_parameters() if tensor.requires_grad}
        tensors = self.whole({name: tensor for name, tensor in model.named_parameters() if id(tensor) in names})
        made = {name: nn.Parameter(tensor) for name, tensor in tensors.items()}
        for module in model.modules():
            for place, tensor in list(module._parameters.items()):
                if id(tensor) in names and names[id(tensor)] in made:  # a tied one stands in two places
                    module._parameters[place] = made[names[id(tensor)]]
