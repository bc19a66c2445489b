"""Residual perceptrons: an affine map, blocks with a layer norm first, a layer norm and an affine map."""

from __future__ import annotations

from dgmppl.ir.networks.core import ACTIVATION, OUT, PRIOR, TIME, Network, NetworkKind, Option, linear
from dgmppl.ir.networks.embedding import check_time, norm, time_layers
from dgmppl.ir.parameters import ParameterSpec


def _residual(network: Network) -> tuple[ParameterSpec, ...]:
    name, width, prefix = network.name, network.size("width"), f"{network.name}.body"
    blocks = (
        part
        for number in range(network.size("layers"))
        for part in (
            *norm(f"{prefix}.blocks.{number}.norm", name, width),
            *linear(f"{prefix}.blocks.{number}.first", name, width, width),
            *linear(f"{prefix}.blocks.{number}.second", name, width, width),
        )
    )
    return (
        *time_layers(network),
        *linear(f"{prefix}.first", name, network.in_features, width),
        *blocks,
        *norm(f"{prefix}.norm", name, width),
        *linear(f"{name}.last", name, width, network.out_features),
    )


KINDS = (
    NetworkKind(
        "residual",
        (Option("width", 128, "width of the blocks"), Option("layers", 2, "blocks"), ACTIVATION, OUT, PRIOR, TIME),
        _residual, check=check_time, doc="residual perceptron, layer norms first (He et al. 2016)",
    ),
)  # fmt: skip
