"""A part of one program under the names of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from dgmppl.ir.bijectors import Bijector, Step
from dgmppl.ir.densities import Density, Located
from dgmppl.ir.expressions import Apply, Call, Expression, Name, Node, rebuild
from dgmppl.ir.networks import Network
from dgmppl.source import Span

# Fields of densities that hold names; strings anywhere else are words of the language.
_NAMES = frozenset({"base", "bijector", "network", "denoiser", "inputs", "names", "given"})


@dataclass(frozen=True, slots=True)
class Renaming:
    """Names of one program as another knows them.

    Attributes:
        name: a name -> the other program's; whatever is no name of the program comes back as it is.
        prefix: what the canonical names of the program's modules begin with in the other.
        span: the place in the other program that all of it stands for.
    """

    name: Callable[[str], str]
    prefix: str
    span: Span | None

    def expression(self, node: Expression) -> Expression:
        """An expression under the other program's names."""
        renamed = replace(rebuild(node, self.expression), span=self.span)
        match renamed:
            case Name(id=name):
                return replace(renamed, id=self.name(name))
            case Apply(network=name):
                return replace(renamed, network=self.name(name))
            case Call(function=name):
                return replace(renamed, function=self.name(name))
        return renamed

    def density(self, density: Density) -> Density:
        """A density under the other program's names."""
        changed = {item.name: self._field(item.name, getattr(density, item.name)) for item in fields(density)}
        return replace(density, **{**changed, "span": self.span})

    def _field(self, field: str, value: Any) -> Any:
        if field in _NAMES and isinstance(value, str):
            return self.name(value)
        if field in _NAMES and isinstance(value, tuple) and all(isinstance(part, str) for part in value):
            return tuple(map(self.name, value))
        if field == "supports":
            return tuple((self.name(name), support) for name, support in value)
        return self._part(value)

    def _part(self, value: Any) -> Any:
        match value:
            case Node():
                return self.expression(value)  # type: ignore[arg-type]
            case Located():
                return self.density(value)  # type: ignore[arg-type]
            case tuple():
                return tuple(map(self._part, value))
        return value

    def network(self, network: Network) -> Network:
        """A network under its new name."""
        return replace(network, name=f"{self.prefix}.{network.name}", span=self.span)

    def bijector(self, bijector: Bijector) -> Bijector:
        """A bijector under its new name, the networks inside it too."""
        steps = tuple(map(self._step, bijector.steps))
        return replace(bijector, name=f"{self.prefix}.{bijector.name}", steps=steps, span=self.span)

    def _step(self, step: Step) -> Step:
        return replace(
            step,
            path=f"{self.prefix}.{step.path}",
            origin=step.place,
            conditioner=None if step.conditioner is None else self.network(step.conditioner),
            element=None if step.element is None else self._step(step.element),
            network=None if step.network is None else self.name(step.network),
            steps=tuple(map(self._step, step.steps)),
            span=self.span,
        )
