"""A user's own modules as kinds of networks.

A kind has one class for each backend, `Name(inputs, outputs, **options)`, where `inputs` are its inputs' shapes and
`outputs` is how many numbers it returns. A torch module maps batches, [N, *shape].. to [N, outputs]; an equinox module
takes `key=` besides, and maps one datum, [*shape].. to [outputs]. Batch axes are the compiler's business. Classes for
several backends hold the same arrays under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import RunError
from dgmppl.ir.networks.core import OUT, PRIOR, Network, NetworkKind, Option, OptionValue
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.types import Shape

Start: TypeAlias = Mapping[str, tuple[NDArray[np.float64], bool]]
Describe: TypeAlias = Callable[[str, str, tuple[Shape, ...], int, Mapping[str, OptionValue], int], Start]


@dataclass(frozen=True)
class Own:
    """A user's own kind of network.

    Attributes:
        name: as specs write it.
        paths: backend -> where its class stands, `pkg.module:Name`.
        options: the classes' keyword arguments.
        describe: (backend, path, inputs, outputs, options, seed) -> start values by name, and whether they are trained.
    """

    name: str
    paths: Mapping[str, str]
    options: tuple[Option, ...]
    describe: Describe

    def given(self, network: Network) -> dict[str, OptionValue]:
        """What a network passes on to its class by name."""
        return {option.name: network.options[option.name] for option in self.options}

    def start(self, network: Network, seed: int) -> Start:
        """The first backend's start values for a seed.

        Raises:
            RunError: the classes of two backends do not hold the same arrays.
        """
        inputs, outputs = tuple(part.shape for part in network.inputs), network.out_features
        found = [
            self.describe(backend, path, inputs, outputs, self.given(network), seed)
            for backend, path in self.paths.items()
        ]
        shapes = [{name: value.shape for name, (value, _) in start.items()} for start in found]
        for backend, other in zip(self.paths, shapes, strict=True):
            if other != shapes[0]:
                odd = sorted(name for name in {*other, *shapes[0]} if other.get(name) != shapes[0].get(name))
                raise RunError(f"the {backend} class of {self.name!r} has other arrays: {', '.join(odd)}")
        return found[0]

    def layout(self, network: Network) -> tuple[ParameterSpec, ...]:
        """The module's arrays; they start as the class itself starts them."""
        prefix = f"{network.name}.body.module"

        def drawn(name: str) -> Callable[[int], NDArray[np.float64]]:
            return lambda seed: self.start(network, seed)[name][0]

        return tuple(
            ParameterSpec(
                f"{prefix}.{name}", network.name, value.shape, Initializer("own", draw=drawn(name)), trainable=trained
            )
            for name, (value, trained) in self.start(network, 0).items()
        )

    def kind(self) -> NetworkKind:
        """Its entry in the table of kinds."""
        return NetworkKind(self.name, (*self.options, OUT, PRIOR), self.layout, doc="a network of the user's own")


OWN: dict[str, Own] = {}
"""The kinds that have been registered in this process."""
