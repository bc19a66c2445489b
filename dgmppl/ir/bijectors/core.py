"""What a bijector is made of, and what a kind of step declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dgmppl.ir.networks import Network, Option, OptionValue
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.types import REAL, Shape, Support
from dgmppl.source import Span


@dataclass(frozen=True)
class Step:
    """One step of a bijector.

    Attributes:
        kind: a key of `BIJECTORS`.
        path: its canonical name (`flow.0.1`), the prefix of its parameters.
        options: every option, defaults filled in.
        conditioner: the network that computes the element transform's parameters, or None.
        element: the element transform (`affine`, `spline`) as a step of its own, or None.
        network: the name of a shared network where the conditioner is one (`ode(field)`), or None.
        steps: the steps inside of it, from base to data (`multiscale`).
        inverted: it runs backwards, as `inverse(...)` wrote it.
        event: the shape of what its kind maps (what it maps to, where it is inverted); None until shapes are inferred.
        origin: its canonical name in the finished run that it came from, or None.
        span: where it is written.
    """

    kind: str
    path: str
    options: Mapping[str, OptionValue]
    conditioner: Network | None = None
    element: Step | None = None
    network: str | None = None
    steps: tuple[Step, ...] = ()
    inverted: bool = False
    event: Shape | None = None
    origin: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> str:
        """The canonical name that it was trained under, by which its order of elements is drawn."""
        return self.origin or self.path

    @property
    def bound(self) -> float | None:
        """B of a step that is the identity outside of [-B, B]; None of one that moves every number."""
        bound = (self.element or self).options.get("bound")
        return float(bound) if isinstance(bound, int | float) else None

    def walk(self) -> Iterator[Step]:
        """The step itself and every step inside of it."""
        yield self
        for step in self.steps:
            yield from step.walk()


@dataclass(frozen=True)
class Bijector:
    """A named bijector: its steps from base to data, a group of parameters of its own.

    Attributes:
        name: the group's name.
        steps: the steps, from base to data.
        parameters: its arrays under their canonical names; those of shared networks are not among them.
        event: the shape of what it maps, and of what it maps to; None until shapes are inferred.
        span: where it is declared.
    """

    name: str
    steps: tuple[Step, ...]
    parameters: tuple[ParameterSpec, ...] = ()
    event: Shape | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its steps."""
        return frozenset(step.kind for step in self.walk())

    @property
    def shared(self) -> tuple[str, ...]:
        """The networks of the program that its steps read."""
        return tuple(dict.fromkeys(step.network for step in self.walk() if step.network is not None))

    def walk(self) -> Iterator[Step]:
        """Every step, those inside of others too."""
        for step in self.steps:
            yield from step.walk()


@dataclass(frozen=True, slots=True)
class BijectorKind:
    """One kind of bijector step.

    Attributes:
        options: its options; positional ones first.
        conditioned: takes a network as its first argument.
        element: takes an element transform as its second argument.
        nested: takes a list of steps as its argument.
        continuous: its inverse is the solution of a differential equation.
        forward, inverse: what each direction costs: `parallel`, `sequential` (one pass per element) or `none`.
        domain, codomain: the sets that it maps between, elementwise.
        rearranges: it moves elements about, so that any set is mapped to itself.
        ordered: it holds an order of all elements, which programs write out.
    """

    name: str
    options: tuple[Option, ...] = ()
    conditioned: bool = False
    element: bool = False
    nested: bool = False
    continuous: bool = False
    forward: str = "parallel"
    inverse: str = "parallel"
    domain: Support = REAL
    codomain: Support = REAL
    rearranges: bool = False
    ordered: bool = False
    doc: str = ""
