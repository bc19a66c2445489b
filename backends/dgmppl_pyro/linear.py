"""Linear layers through oneDNN, where torch's own matrix product is slow.

torch multiplies float32 matrices through MKL, which uses half of an AMD processor; there the product and its gradients
go through oneDNN's inner product.
"""

from __future__ import annotations

import functools
import pathlib
import platform
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgmppl_pyro import causal
from dgmppl_pyro.operations import only_backward

# Multiply-adds below which the detour through Python costs more than oneDNN's faster product saves.
_WORTHWHILE = 1 << 21


def accelerate(network: nn.Module) -> nn.Module:
    """The network itself, whose linear layers compute by `linear` on the machines where that is faster."""
    if slow_mkl():
        for layer in network.modules():
            layer.__class__ = _FASTER.get(type(layer), type(layer))
    return network


class Linear(nn.Linear):  # type: ignore[misc]
    """torch's linear layer, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [..., in] to [..., out]."""
        return linear(x, self.weight, self.bias)


class MaskedLinear(causal.MaskedLinear):
    """The masked linear layer of causal networks, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [..., in] to [..., out]."""
        return linear(x, self.masked_weight(), self.bias)


_FASTER: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: Linear, causal.MaskedLinear: MaskedLinear}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The affine map x W^T + b: the value and the gradients, of every order, of `torch.nn.functional.linear`.

    Small, double-precision and non-CPU tensors take torch's route, and so does everything under autocast, `torch.func`,
    forward-mode differentiation and `torch.compile`.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out], or None.
    """
    if not _through_onednn(x, weight):
        return F.linear(x, weight, bias)
    product: Tensor = _OneDnnLinear.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return product.reshape(*x.shape[:-1], weight.shape[0])


class _OneDnnLinear(torch.autograd.Function):  # type: ignore[misc]
    """x W^T + b of x [rows, in], W [out, in], b [out] by oneDNN's inner product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        # While a second derivative is being built: oneDNN's operator has none, torch's matrix product has.
        product = torch.matmul if torch.is_grad_enabled() else _matmul
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            product(gradient, weight) if needs_x else None,
            product(gradient.t(), x) if needs_weight else None,
            gradient.sum(0) if needs_bias else None,
        )


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    return _product(left, right.t(), None)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _through_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        slow_mkl()
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() * weight.shape[0] >= _WORTHWHILE
        and type(x) in _PLAIN
        and type(weight) in _PLAIN
        and not torch.is_autocast_enabled("cpu")
        and only_backward()
    )


_PLAIN = (Tensor, torch.nn.Parameter)


@functools.cache
def slow_mkl() -> bool:
    """Whether torch's matrix product is MKL's on an AMD processor: a property of the machine, the same in every run."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    described = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else platform.processor()
    return "AuthenticAMD" in described
