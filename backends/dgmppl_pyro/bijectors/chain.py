"""Composition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from dgmppl_pyro.bijectors.base import Bijector
from dgmppl_pyro.operations import concatenate

Steps: TypeAlias = "Sequence[Bijector | Steps]"


class Chain(Bijector):
    """f = f_n o ... o f_1: steps from base to data; a list among them is a chain of its own.

    Its parameters are named by the places of the steps: `0.1.shift`.
    """

    def __init__(self, steps: Steps) -> None:
        """Args: bijectors, and lists of them."""
        parts = [step if isinstance(step, Bijector) else Chain(step) for step in steps]
        super().__init__(parts[0].shapes[0])
        self.image = parts[-1].shapes[1]
        pairs = [part.costly[::-1] if part.backwards else part.costly for part in parts]
        self.costly = any(pair[0] for pair in pairs), any(pair[1] for pair in pairs)
        self.places = tuple(str(place) for place in range(len(parts)))
        for place, part in zip(self.places, parts, strict=True):
            self.add_module(place, part)

    @property
    def steps(self) -> tuple[Bijector, ...]:
        """The steps, from base to data."""
        return tuple(self._modules[place] for place in self.places)

    @property
    def source(self) -> Any:
        """Where z lies: what the first step that minds the set demands."""
        return next((end for end in map(_source, self.steps) if end is not None), None)

    @property
    def target(self) -> Any:
        """Where x lies: what the last step that minds the set gives."""
        return next((end for end in map(_target, reversed(self.steps)) if end is not None), None)

    def push(self, z: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        """The steps in order; log-determinants add up."""
        return _through(self.steps, z, context, forward=True)

    def pull(self, x: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        """The inverses in reverse order."""
        return _through(reversed(self.steps), x, context, forward=False)

    def start(self, value: Tensor, context: tuple[Tensor, ...], name: str, found: dict[str, Tensor]) -> Tensor:
        """Start values one step after the other, each from data that the steps before it have mapped."""
        places = self.places if self.backwards else self.places[::-1]
        for place in places:
            step: Bijector = self._modules[place]
            turned = step.inverted() if self.backwards else step
            value = turned.start(value, context, f"{name}{place}.", found)
        return value

    def bind(self, networks: Mapping[str, nn.Module]) -> Bijector:
        """The chain with shared networks in their places; itself where it has none."""
        return self.each(lambda step: step.bind(networks))

    def probed(self, probe: Tensor) -> Bijector:
        """The chain with the noise of its stochastic traces; itself where it has none."""
        return self.each(lambda step: step.probed(probe))

    def velocity(self, x: Tensor, t: Tensor, *context: Tensor) -> Tensor:
        """That of its only step."""
        (step,) = self.steps
        return step.velocity(x, t, *context)

    def each(self, change: Callable[[Bijector], Bijector]) -> Bijector:
        """The chain with every step changed; itself where none is."""
        steps = self.steps
        changed = tuple(change(step) for step in steps)
        if all(old is new for old, new in zip(steps, changed, strict=True)):
            return self
        chain = self.rebuilt(changed)
        return chain.inverted() if self.backwards else chain

    def rebuilt(self, steps: Steps) -> Chain:
        """The same composition of other steps."""
        return Chain(steps)


class Multiscale(Chain):
    """x = (g(z_1), z_2): a chain g of the first half of the leading axis; the other half is factored out.

    Source: Dinh, Sohl-Dickstein and Bengio (2017), section 3.6.
    """

    def __init__(self, steps: Steps, event: int | tuple[int, ...]) -> None:
        """Args: the steps of g, and the shape of the whole event, whose leading axis is even."""
        super().__init__(steps)
        self.event = self.image = (event,) if isinstance(event, int) else tuple(event)

    def push(self, z: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        """log |det J| is that of g."""
        return self._halved(z, context, forward=True)

    def pull(self, x: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        """The inverse of g."""
        return self._halved(x, context, forward=False)

    def start(self, value: Tensor, context: tuple[Tensor, ...], name: str, found: dict[str, Tensor]) -> Tensor:
        """Start values of g's steps, from its half of the data."""
        kept, other = self._halves(value)
        return self._joined(super().start(kept, context, name, found), other)

    def rebuilt(self, steps: Steps) -> Chain:
        """The same composition of other steps."""
        return Multiscale(steps, self.event)

    def _halved(self, value: Tensor, context: tuple[Tensor, ...], *, forward: bool) -> tuple[Tensor, Tensor | float]:
        kept, other = self._halves(value)
        steps = self.steps if forward else self.steps[::-1]
        mapped, log_det = _through(steps, kept, context, forward=forward)
        return self._joined(mapped, other), log_det

    def _halves(self, value: Tensor) -> tuple[Tensor, Tensor]:
        axis, half = value.ndim - len(self.event), self.event[0] // 2
        first = (slice(None),) * axis
        return value[(*first, slice(half))], value[(*first, slice(half, None))]

    def _joined(self, kept: Tensor, other: Tensor) -> Tensor:
        return concatenate([kept, other], -len(self.event))


def _through(
    steps: Iterable[Bijector], value: Tensor, context: tuple[Tensor, ...], *, forward: bool
) -> tuple[Tensor, Tensor | float]:
    total: Tensor | float = 0.0
    for step in steps:
        value, log_det = step.mapped(value, context, forward=forward)
        total = log_det + total
    return value, total


def _source(step: Bijector) -> Any:
    return step.target if step.backwards else step.source


def _target(step: Bijector) -> Any:
    return step.source if step.backwards else step.target
