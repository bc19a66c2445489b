"""What a function under construction knows: local names, the statements so far, what each site's value is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dgmppl.errors import UnsupportedError
from dgmppl.ir.emission.names import RESERVED
from dgmppl.ir.expressions import Apply
from dgmppl.ir.kernel import Assign, Comment, Function, Group, Noise, NoiseEntry, Statement, Value, Var
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype, TensorType
from dgmppl.lowering.layout import PARTICLES, Lowered
from dgmppl.source import Diagnostic, Span

if TYPE_CHECKING:
    from dgmppl.lowering.clocks import Clock


def unsupported(construct: str, span: Span | None, fix: str | None = None) -> UnsupportedError:
    """The one error for what is derived but not lowered."""
    return UnsupportedError([Diagnostic("not-lowered", f"{construct} is not lowered to a program yet", span, fix=fix)])


@dataclass(frozen=True, slots=True)
class Preimage:
    """What a drawn image came from: log p(image) needs no inverse then.

    Attributes:
        image: the drawn value; the record holds for it alone.
        base: the draw of the base.
        log_det: log |det| of the forward map at it.
    """

    image: Value
    base: Lowered
    log_det: Lowered


@dataclass(slots=True)
class Frame:
    """Where statements go and what names mean: a function's body, time as a batch axis, or the body of a loop.

    Attributes:
        statements: the body so far.
        values: what each site's value is.
        calls: outputs of network calls by their inputs.
        preimages: by section and site of the image.
        clock: how positions in time are read; None outside chains.
        element: what a causal network gives for the present element, where elements are drawn one by one.
    """

    statements: list[Statement] = field(default_factory=list)
    values: dict[str, Lowered] = field(default_factory=dict)
    calls: dict[tuple[object, ...], tuple[Lowered, ...]] = field(default_factory=dict)
    preimages: dict[tuple[str, str], Preimage] = field(default_factory=dict)
    clock: Clock | None = None
    element: Callable[[Scope, Apply], tuple[Lowered, ...]] | None = None


class Scope:
    """One function under construction.

    Attributes:
        program: the typed program.
        groups: its parameter groups by name.
        frame: the statements and names of the present place.
        scored: densities of what is drawn are wanted, so that draws keep what they came from.
        completed: sites of which the batch holds some elements, marked in `NAME.given`.
        library: a program of the library: parameters with a prior are sampled by it, never unpacked.
        trailing: how many batch axes stand to the right of the next enumeration axis (particles, data, enumerated).
        updates: new values of what the run carries from step to step, by entry.
        replaced: the variable of a network that stands in the place of a group's own.
        training: it is a loss: what only training does, such as dropping a diffusion's conditions, is done.
        place: what the names of noise entries end with: empty, or `@NAME` where the same sites are drawn once more.
    """

    def __init__(
        self,
        program: Program,
        groups: dict[str, Group],
        *,
        particles: bool = False,
        library: bool = False,
        scored: bool = True,
        completed: frozenset[str] = frozenset(),
    ) -> None:
        self.program = program
        self.library = library
        self.groups = groups
        self.scored = scored
        self.completed = completed
        self.frame = Frame()
        self.particles = particles
        self.trailing = 2 if particles else 1
        self.place = ""
        self.training = False
        self.noise: list[Noise] = []
        self.columns: dict[str, str] = {}
        self.report: list[Var] = []
        self.updates: dict[str, Value] = {}
        self.used_groups: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self._names: set[str] = set(RESERVED)
        # A library program's arguments are called like their columns, whatever its local functions compute.
        self._arguments = {name: self.fresh(name) for name in program.columns} if library else {}

    @property
    def statements(self) -> list[Statement]:
        """The present body."""
        return self.frame.statements

    @statements.setter
    def statements(self, body: list[Statement]) -> None:
        self.frame.statements = body

    @property
    def clock(self) -> Clock | None:
        """How positions in time are read here."""
        return self.frame.clock

    @property
    def element(self) -> Callable[[Scope, Apply], tuple[Lowered, ...]] | None:
        """What a causal network gives for the present element, where elements are drawn one by one."""
        return self.frame.element

    @contextmanager
    def within(self, frame: Frame) -> Iterator[Frame]:
        """Another place: statements and bindings made inside belong to it."""
        outer, self.frame = self.frame, frame
        try:
            yield frame
        finally:
            self.frame = outer

    def fresh(self, wish: str) -> str:
        """A local name that nothing else uses."""
        wish = wish.replace(".", "_")
        name, number = wish, 1
        while name in self._names:
            name, number = f"{wish}_" if number == 1 else f"{wish}_{number}", number + 1
        self._names.add(name)
        return name

    def assign(self, wish: str, value: Lowered) -> Lowered:
        """A statement `name = value`; the same layout with the variable as its code."""
        if isinstance(value.value, Var):
            return value
        name = self.fresh(wish)
        self.statements.append(Assign((name,), value.value, self.comment(value)))
        return value.with_value(Var(name))

    def reported(self, wish: str, value: Lowered) -> Lowered:
        """A statement whose value the loss reports under its name, averaged."""
        named = self.assign(wish, value)
        if isinstance(named.value, Var):
            self.report.append(named.value)
        return named

    def comment(self, value: Lowered) -> str:
        """A value's layout as a person would write it: `[K, B, 16]`."""
        left = [axis.strip("()") for axis in sorted(value.axes - {PARTICLES})]
        batch = ["K"] * (PARTICLES in value.axes) + ["B"] * value.batched
        return f"[{', '.join([*left, *batch, *map(str, value.shape)])}]"

    def remark(self, text: str) -> None:
        """A line of mathematics before the next statement."""
        self.statements.append(Comment(text))

    def bind(self, name: str, value: Lowered) -> None:
        """Gives a site a value in this function."""
        self.frame.values[name] = value

    def bound(self, name: str) -> bool:
        """Whether a site has a value in this function already."""
        return name in self.frame.values

    @contextmanager
    def branch(self) -> Iterator[None]:
        """Bindings made inside are forgotten afterwards; statements, and the network calls among them, stay."""
        frame, trailing = self.frame, self.trailing
        self.frame = replace(frame, values=dict(frame.values), preimages=dict(frame.preimages))
        try:
            yield
        finally:
            self.frame, self.trailing = frame, trailing

    @contextmanager
    def apart(self, place: str) -> Iterator[None]:
        """Draws of their own: nothing is bound yet, noise entries are named `SITE@PLACE`, no axis of particles."""
        outer = self.particles, self.place
        with self.branch():
            self.frame.values, self.frame.preimages = {}, {}
            self.particles, self.place, self.trailing = False, f"@{place}", 1
            try:
                yield
            finally:
                self.particles, self.place = outer

    def value(self, name: str) -> Lowered | None:
        """The value bound to a site, or None."""
        return self.frame.values.get(name)

    def parameter(self, site: Site) -> Lowered:
        """A learned or random parameter, in constrained space."""
        kind = site.typed
        name = self.use_group(site.name)
        shape = (len(self.program.levels[site.level]), *kind.shape) if site.level else kind.shape
        return Lowered(Var(name), shape, False, kind.dtype)

    def use_group(self, group: str) -> str:
        """The variable of a parameter group, unpacked at the function's head; a bijector's networks come along.

        A network that has been replaced is the one in its place. What a parameter's bounds read is unpacked first.
        """
        if group in self.replaced:
            return self.replaced[group]
        if group not in self.used_groups:
            known = self.groups.get(group)
            for parent, _ in () if known is None or known.bounds is None else known.bounds.groups:
                self.use_group(parent)
            if group in self.program.bijectors:
                for network in self.program.bijectors[group].shared:
                    self.use_group(network)
            self.used_groups[group] = self.fresh(group.replace(".", "_"))
        return self.used_groups[group]

    def column(self, name: str, kind: TensorType) -> Lowered:
        """A data column of the batch."""
        if name not in self.columns:
            self.columns[name] = self._arguments.get(name) or self.fresh(name)
        if kind.plate is not None and kind.plate != "data":
            shape = (len(self.program.levels[kind.plate]), *kind.shape)
            return Lowered(Var(self.columns[name]), shape, False, kind.dtype)
        return Lowered(Var(self.columns[name]), kind.shape, True, kind.dtype)

    def mask(self, name: str) -> Lowered:
        """Where a column's entries are present: boolean, shaped like the column."""
        return self.column(
            f"{name}.observed", TensorType(self.program.columns[name].shape, Dtype.BOOLEAN, plate="data")
        )

    def cached_call(self, key: tuple[object, ...]) -> tuple[Lowered, ...] | None:
        """The outputs of a network call made before."""
        return self.frame.calls.get(key)

    def remember_call(self, key: tuple[object, ...], outputs: tuple[Lowered, ...]) -> None:
        """Keeps a network call's outputs."""
        self.frame.calls[key] = outputs

    def preimage(self, section: str, site: str) -> Preimage | None:
        """What the drawn value of a site came from, or None; a guide's draw says nothing of the model's bijection."""
        return self.frame.preimages.get((section, site))

    def keep_preimage(self, section: str, site: str, preimage: Preimage) -> None:
        """Remembers what a drawn value came from."""
        self.frame.preimages[section, site] = preimage

    def random(self, name: str, kind: str, shape: tuple[int, ...], plate: str | None = "data") -> Lowered:
        """The random numbers of a draw, registered under a name; one step's part of them inside a chain."""
        if self.clock is not None:
            return self.clock.random(self, name, kind, shape, plate)
        return self.noise_entry(name, kind, shape, plate)

    def noise_entry(self, name: str, kind: str, shape: tuple[int, ...], plate: str | None) -> Lowered:
        """An entry of the noise dictionary."""
        name = f"{name}{self.place}"
        particles = self.particles and plate == "data"
        if all(entry.name != name for entry in self.noise):
            self.noise.append(Noise(name, kind, shape, particles, plate))
        axes = frozenset({PARTICLES}) if particles else frozenset[str]()
        return Lowered(NoiseEntry(name), shape, plate is not None, Dtype.REAL, axes)

    def function(
        self, name: str, kind: str, doc: str, *, particles: int | None = None, owns: tuple[str, ...] = ()
    ) -> Function:
        """The finished function."""
        return Function(
            name,
            kind,
            tuple(self.statements),
            doc,
            groups=tuple(self.used_groups.items()),
            columns=tuple(self.columns.items()),
            noise=tuple(self.noise),
            particles=particles,
            owns=owns,
        )
