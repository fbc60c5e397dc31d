"""Named tensors that live side by side in one flat buffer.

One buffer makes a pull one copy and an optimizer step one fused kernel call; the names stay, because
they are what checkpoints, gradients and people speak of.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

Shapes = Mapping[str, tuple[int, ...]]


class Parameters:
    """float32 tensors by name, each a view of `flat` [N]."""

    def __init__(self, shapes: Shapes, flat: torch.Tensor | None = None) -> None:
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        size = sum(_size(shape) for shape in self.shapes.values())
        self.flat = torch.zeros(size) if flat is None else flat
        if self.flat.shape != (size,):
            raise ValueError(
                f"a flat buffer of {size} elements is needed, not of shape {tuple(self.flat.shape)}"
            )
        self.views = split(self.flat, self.shapes)

    @classmethod
    def of_module(cls, module: torch.nn.Module) -> Parameters:
        """A copy of a module's parameters, on the CPU."""
        named = {name: p.detach().float().cpu() for name, p in module.named_parameters()}
        parameters = cls({name: tuple(p.shape) for name, p in named.items()})
        parameters.load(named)
        return parameters

    def clone(self) -> Parameters:
        """A private copy on the CPU."""
        return Parameters(self.shapes, self.flat.detach().cpu().clone())

    def pin(self) -> Parameters:
        """A copy in page-locked memory, from which a GPU reads fastest."""
        return Parameters(self.shapes, self.flat.pin_memory())

    def on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The tensors by name on a device: these themselves, or a copy made at once."""
        if self.flat.device == device:
            return self.views
        return split(self.flat.to(device, non_blocking=True), self.shapes)

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copies named tensors in. Raises ValueError when names or shapes differ."""
        differing = differences(self.shapes, {name: tuple(t.shape) for name, t in tensors.items()})
        if differing:
            raise ValueError("; ".join(differing))
        for name, tensor in tensors.items():
            self.views[name].copy_(tensor)


def gradients_of(loss: torch.Tensor, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Gradient of a loss, by parameter of a module; zeros for one that is not learned. On the CPU: they come
    from a GPU in one copy, as float32."""
    if loss.device.type == "cpu":
        return _gradients(loss, module)
    return split(
        flat_gradient(loss, module).cpu(), {name: tuple(p.shape) for name, p in module.named_parameters()}
    )


def flat_gradient(loss: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
    """The same as one float32 tensor [N] on the loss's device, in the order of the parameters."""
    return torch.cat([gradient.float().reshape(-1) for gradient in _gradients(loss, module).values()])


def _gradients(loss: torch.Tensor, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = dict(module.named_parameters())
    found = iter(torch.autograd.grad(loss, [p for p in named.values() if p.requires_grad]))
    return {name: next(found) if p.requires_grad else torch.zeros_like(p) for name, p in named.items()}


def split(flat: torch.Tensor, shapes: Shapes) -> dict[str, torch.Tensor]:
    """Views of `flat` [N] by name, in the order of `shapes`."""
    views, start = {}, 0
    for name, shape in shapes.items():
        views[name] = flat[start : start + _size(shape)].view(shape)
        start += _size(shape)
    return views


def differences(wanted: Shapes, found: Shapes) -> list[str]:
    """In words, how two sets of names and shapes differ; empty when they do not."""
    words = [f"{name} is missing" for name in wanted if name not in found]
    words += [f"{name} is not known" for name in found if name not in wanted]
    words += [
        f"{name} is {list(found[name])}, not {list(wanted[name])}"
        for name in wanted
        if name in found and tuple(found[name]) != tuple(wanted[name])
    ]
    return words


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
