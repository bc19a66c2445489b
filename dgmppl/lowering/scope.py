"""What a function under construction knows: local names, the statements so far, what each site's value is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dgmppl.errors import UnsupportedError
from dgmppl.ir.emission.names import RESERVED
from dgmppl.ir.kernel import Assign, Comment, Function, Group, Noise, Statement, Var
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype, TensorType
from dgmppl.lowering.layout import PARTICLES, POINTS, Lowered
from dgmppl.source import Diagnostic, Span


def unsupported(construct: str, span: Span | None, fix: str | None = None) -> UnsupportedError:
    """The one error for what is derived but not lowered."""
    return UnsupportedError([Diagnostic("not-lowered", f"{construct} is not lowered to a program yet", span, fix=fix)])


class Scope:
    """One function under construction.

    Attributes:
        program: the typed program.
        groups: its parameter groups by name.
        statements: the body so far.
        library: a program of the library: parameters with a prior are sampled by it, never unpacked.
        trailing: how many batch axes stand to the right of the next enumeration axis (particles, data, enumerated).
    """

    def __init__(
        self, program: Program, groups: dict[str, Group], *, particles: bool = False, library: bool = False
    ) -> None:
        self.program = program
        self.library = library
        self.groups = groups
        self.statements: list[Statement] = []
        self.particles = particles
        self.trailing = 2 if particles else 1
        self.noise: list[Noise] = []
        self.columns: dict[str, str] = {}
        self.report: list[Var] = []
        self.used_groups: dict[str, str] = {}
        self._values: dict[str, Lowered] = {}
        self._calls: dict[tuple[object, ...], tuple[Lowered, ...]] = {}
        self._names: set[str] = set(RESERVED)

    def fresh(self, wish: str) -> str:
        """A local name that nothing else uses."""
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

    def comment(self, value: Lowered) -> str:
        """A value's layout as a person would write it: `[K, B, 16]`."""
        left = ["points"] * (POINTS in value.axes) + sorted(value.axes - {PARTICLES, POINTS})
        batch = ["K"] * (PARTICLES in value.axes) + ["B"] * value.batched
        return f"[{', '.join([*left, *batch, *map(str, value.shape)])}]"

    def remark(self, text: str) -> None:
        """A line of mathematics before the next statement."""
        self.statements.append(Comment(text))

    def bind(self, name: str, value: Lowered) -> None:
        """Gives a site a value in this function."""
        self._values[name] = value

    def bound(self, name: str) -> bool:
        """Whether a site has a value in this function already."""
        return name in self._values

    @contextmanager
    def branch(self) -> Iterator[None]:
        """Bindings made inside are forgotten afterwards; statements, and the network calls among them, stay."""
        values, trailing = dict(self._values), self.trailing
        try:
            yield
        finally:
            self._values, self.trailing = values, trailing

    def value(self, name: str) -> Lowered | None:
        """The value bound to a site, or None."""
        return self._values.get(name)

    def parameter(self, site: Site) -> Lowered:
        """A learned or random parameter, in constrained space."""
        kind = site.typed
        name = self.use_group(site.name)
        shape = (len(self.program.levels[site.level]), *kind.shape) if site.level else kind.shape
        return Lowered(Var(name), shape, False, kind.dtype)

    def use_group(self, group: str) -> str:
        """The local variable of a parameter group, unpacked at the function's head."""
        if group not in self.used_groups:
            self.used_groups[group] = self.fresh(group.replace(".", "_"))
        return self.used_groups[group]

    def column(self, name: str, kind: TensorType) -> Lowered:
        """A data column of the batch."""
        if name not in self.columns:
            self.columns[name] = self.fresh(name.replace(".", "_"))
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
        return self._calls.get(key)

    def remember_call(self, key: tuple[object, ...], outputs: tuple[Lowered, ...]) -> None:
        """Keeps a network call's outputs."""
        self._calls[key] = outputs

    def draw_noise(self, site: str, kind: str, shape: tuple[int, ...], plate: str | None = "data") -> str:
        """Registers the random numbers of a draw and returns their name."""
        if all(entry.name != site for entry in self.noise):
            self.noise.append(Noise(site, kind, shape, self.particles and plate == "data", plate))
        return site

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
