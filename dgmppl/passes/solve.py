"""Solving shapes: a fixpoint over all sites, upward from operands and downward from what is expected.

Known at the start: the shapes of data, of `learned(...)`, and `shape=`. Then, until nothing changes: a bijector equates
base and image; a computed site takes the shape of its expression, or the shape that its readers expect; a bare network
takes the shape expected where it stands. Only then a distribution without `shape=` takes that of its parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dgmppl.ir.data import Column
from dgmppl.ir.densities import Density, Deterministic, Implicit, Learned, MarkovChain, Pushforward, Unnormalized
from dgmppl.ir.expressions import Expression, Index, Name, walk
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.types import Dtype, Shape, TensorType
from dgmppl.passes.lower_bounds import LowerBounds
from dgmppl.passes.rhs import expressions
from dgmppl.passes.slots import Frame, Slot, visit_slots
from dgmppl.passes.terms import lag
from dgmppl.passes.upward import Upward


def solve(program: Program) -> Solution:
    """The shapes of every site and network head that the program determines."""
    solution = Solution(program)
    solution.run()
    return solution


class Solution:
    """What is known so far.

    Attributes:
        shapes: a site's event shape, by name; a guide site shares its model site's.
        elements: the shape of one step of a chain, by name.
        classes: K of a categorical site, by name.
        heads: the shape of a network's output, by (network, head).
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.shapes: dict[str, Shape] = {}
        self.elements: dict[str, Shape] = {}
        self.classes: dict[str, int] = {}
        self.heads: dict[tuple[str, str | None], Shape] = {}
        self.adopting = False
        self.changed = False
        self.upward = Upward(self)
        self.lower = LowerBounds(self)
        self.sites = (*program.sites, *program.guide)
        self.by_name: dict[str, Site] = {site.name: site for site in reversed(self.sites)}

    # ---- the fixpoint ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Iterate to the fixpoint, adding one default at a time."""
        for name, column in self.program.columns.items():
            self.set(name, column.shape)
            self._column_classes(name, column)
        for inlined in self.program.runs:
            self._trained(inlined.types)
        self._settle()
        while self._default_one() or self._adopt():
            self._settle()

    def _settle(self) -> None:
        self.changed = True
        while self.changed:
            self.changed = False
            for site in self.sites:
                if site.density is not None:
                    self._site(site, site.density)
            self.upward.index = None
            for critic in self.program.critics:
                self.upward.shape(critic.expression, ())

    def _site(self, site: Site, density: Density) -> None:
        name = site.name
        self.upward.index = None
        if name not in self.shapes:
            self._eager(site, density)
        if isinstance(density, MarkovChain):
            self._steps(name, density)
        if isinstance(density, Pushforward):
            self._equate(name, density.base)
        if name not in self.classes and (classes := self.lower.classes(density)) is not None:
            self.classes[name], self.changed = classes, True
        visit_slots(density, self.frame(name, density), self._push)

    def frame(self, name: str, density: Density) -> Frame:
        """What is known of a site, for the visit of its density."""
        shape = self.shapes.get(name)
        if shape is None and isinstance(density, MarkovChain) and name in self.elements:
            shape = (0, *self.elements[name])
        return Frame(shape, self.classes_of(name, density))

    def classes_of(self, name: str, density: Density) -> int | None:
        """K of a categorical site: as its own parameters say, else as its data or its model site do."""
        return self.lower.known_classes(density) or self.classes.get(name)

    def _push(self, expression: Expression, slot: Slot) -> Expression:
        self.upward.index = slot.index
        self.upward.shape(expression, slot.shape)
        return expression

    def set(self, name: str, shape: Shape) -> None:
        """Note a site's shape, the first time that it is known."""
        if name in self.shapes:
            return
        self.shapes[name], self.changed = shape, True
        site = self.by_name.get(name)
        if site is not None and isinstance(site.density, MarkovChain) and shape:
            self.elements.setdefault(name, shape[1:])

    def _eager(self, site: Site, density: Density) -> None:
        """Shapes that follow without any default."""
        match density:
            case Learned(shape=shape):
                self.set(site.name, shape)
            case Deterministic(expression=expression) | Implicit(function=expression):
                self._set_known(site.name, self.upward.shape(expression, None))
            case MarkovChain():
                self._chain_element(site, density, random=False)
            case Unnormalized() if site.shape_hint is not None:
                self.set(site.name, site.shape_hint)
            case _ if site.shape_hint is not None:
                self._set_known(site.name, self.lower.shape(density, site.shape_hint))

    def _set_known(self, name: str, shape: Shape | None) -> None:
        if shape is not None:
            self.set(name, shape)

    def _equate(self, image: str, base: str) -> None:
        for known, other in ((image, base), (base, image)):
            if known in self.shapes:
                self.set(other, self.shapes[known])

    # ---- chains ---------------------------------------------------------------------------------------------------

    def _chain_element(self, site: Site, density: MarkovChain, random: bool) -> bool:
        computed = isinstance(density.transition, Deterministic | Implicit)
        if site.name in self.elements or not (random or computed or site.shape_hint is not None):
            return False
        shape = self.lower.element(density, site.shape_hint)
        if shape is not None:
            self.elements[site.name], self.changed = shape, True
        return shape is not None

    def _steps(self, name: str, density: MarkovChain) -> None:
        """Chains that read each other at a common `t` have a common length."""
        if name in self.shapes:
            return
        element = self.elements.get(name)
        lengths = [shape[0] for other in self._partners(name, density) if (shape := self.shapes.get(other))]
        if element is not None and lengths:
            self.set(name, (lengths[0], *element))

    def _partners(self, name: str, density: MarkovChain) -> Iterator[str]:
        yield from _read_at(density)
        for site in self.sites:
            if isinstance(site.density, MarkovChain) and name in _read_at(site.density):
                yield site.name

    # ---- defaults -------------------------------------------------------------------------------------------------

    def _default_one(self) -> bool:
        """The first site that nothing has determined takes the shape of its parameters."""
        self.upward.index = None
        for site in self.sites:
            if site.density is None or site.name in self.shapes:
                continue
            if isinstance(site.density, MarkovChain):
                if self._chain_element(site, site.density, random=True):
                    return True
                continue
            shape = self.lower.shape(site.density, site.shape_hint)
            if shape is not None:
                self.set(site.name, shape)
                return True
        return False

    def _adopt(self) -> bool:
        """Once: let bare networks take the shape of what they stand beside."""
        if self.adopting:
            return False
        self.adopting = True
        return True

    def _trained(self, types: Mapping[str, TensorType]) -> None:
        """What came from a finished run has the shapes that it was trained with."""
        for name, type_ in types.items():
            self.set(name, type_.shape)
            if type_.support.discrete and type_.support.states is not None:
                self.classes.setdefault(name, type_.support.states)

    def _column_classes(self, name: str, column: Column) -> None:
        classes = column_classes(column)
        if classes is not None:
            self.classes[name] = classes

    def can_take(self, name: str) -> bool:
        """Whether a site of unknown shape takes the one that its readers expect."""
        site = self.by_name.get(name)
        return site is not None and site.role is Role.DETERMINISTIC and isinstance(site.density, Deterministic)


def column_classes(column: Column) -> int | None:
    """How many states a discrete column has, where that is known."""
    if column.support is not None:
        return column.support.states
    if column.coded and column.levels is not None:
        return len(column.levels)
    if column.dtype is Dtype.INTEGER and column.highest is not None and column.lowest is not None:
        return int(column.highest.value) + 1 if column.lowest.value >= 0 else None
    return None


def _read_at(density: MarkovChain) -> frozenset[str]:
    """The names that a chain reads at `t` or at a lag of it."""
    return frozenset(
        node.value.id
        for expression in expressions(density)
        for node in walk(expression)
        if isinstance(node, Index)
        and isinstance(node.value, Name)
        and len(node.items) == 1
        and lag(node.items[0], density.index) is not None
    )
