"""Affine maps, alone and with activations between them."""

from __future__ import annotations

from itertools import pairwise

from dgmppl.ir.networks.core import ACTIVATION, HIDDEN, OUT, PRIOR, TIME, Network, NetworkKind, linear
from dgmppl.ir.networks.embedding import check_time, time_layers
from dgmppl.ir.parameters import ParameterSpec


def _perceptron(network: Network) -> tuple[ParameterSpec, ...]:
    widths = (network.in_features, *network.sizes("hidden"), network.out_features)
    layers = (
        parameter
        for number, (before, after) in enumerate(pairwise(widths))
        for parameter in linear(f"{network.name}.layers.{number}", network.name, before, after)
    )
    return (*time_layers(network), *layers)


KINDS = (
    NetworkKind("linear", (OUT, PRIOR), _perceptron, doc="one affine map"),
    NetworkKind(
        "mlp",
        (HIDDEN, ACTIVATION, OUT, PRIOR, TIME),
        _perceptron,
        check=check_time,
        doc="fully connected layers with an activation between them",
    ),
)
