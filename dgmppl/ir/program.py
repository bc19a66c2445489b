"""The program: every site in generative order, with the networks, bijectors and critics that the sites use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dgmppl.errors import InternalError
from dgmppl.ir.bijectors import Bijector
from dgmppl.ir.data import Column
from dgmppl.ir.densities import Density
from dgmppl.ir.expressions import Expression
from dgmppl.ir.networks import Network
from dgmppl.ir.settings import Train
from dgmppl.ir.trained import Inlined
from dgmppl.ir.types import TensorType
from dgmppl.source import Source, Span

if TYPE_CHECKING:
    import networkx as nx


class Role(Enum):
    """What a site is to the model."""

    OBSERVED = "observed"
    LATENT = "latent"
    PARAMETER = "parameter"
    LEARNED = "learned"
    COVARIATE = "covariate"
    DETERMINISTIC = "deterministic"
    GUIDE = "guide"


class IndexKind(Enum):
    """What the brackets of a site's key mean."""

    NONE = "none"
    ELEMENT = "element"
    TIME = "time"
    LEVEL = "level"


@dataclass(frozen=True, slots=True)
class Site:
    """One quantity of the program.

    Attributes:
        name: its name; the names of a joint site are separate sites that share one density object.
        section: `data`, `parameters`, `model` or `guide`.
        role: what it is to the model. A `parameters` entry with a prior is a PARAMETER, `learned(...)` is LEARNED.
        density: how it is distributed or computed; None for a covariate.
        type: shape, element type, support and plate; None until `passes.infer` has run.
        index: what its key's brackets mean.
        level: the data column whose levels it has a copy for, if `index` is LEVEL.
        parents: names of the sites that its density reads, in order of appearance (for a chain, lags included).
        joint: the names of its joint site, itself included; empty elsewhere.
        shape_hint: `shape=` as written, in units of the distribution's own event.
        span: the declaration's place.
    """

    name: str
    section: str
    role: Role
    density: Density | None
    type: TensorType | None = None
    index: IndexKind = IndexKind.NONE
    level: str | None = None
    parents: tuple[str, ...] = ()
    joint: tuple[str, ...] = ()
    shape_hint: tuple[int, ...] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def typed(self) -> TensorType:
        """The type of a site after inference."""
        if self.type is None:
            raise InternalError(f"site {self.name!r} was read before its type was inferred")
        return self.type

    @property
    def law(self) -> Density:
        """The density of a site that has one: of all but covariates."""
        if self.density is None:
            raise InternalError(f"{self.name!r} has no density")
        return self.density


@dataclass(frozen=True, slots=True)
class Critic:
    """A critic: an expression of the sites in `reads`, swapped between the two samples, and of shared context."""

    reads: tuple[str, ...]
    expression: Expression
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Program:
    """A model, its guide and what they need.

    Attributes:
        sites: covariates, parameters and model sites, in generative order.
        guide: guide sites in sampling order; empty where no guide is declared (yet).
        auto_guide: `auto(...)` if the guide is given by that; None otherwise.
        networks, bijectors: by name.
        critics: in the order written.
        columns: data columns by name.
        levels: the levels of each level index, in order.
        rows: the number N of data rows, None while data are bound at run time.
        functions: local functions, name -> (arguments, body).
        objective: the objective expression as written, or None.
        train, infer, evaluate: how to run it.
        runs: the finished runs that stand in it.
        frozen: the values of their parameters, constrained, by canonical name.
    """

    name: str
    description: str
    sites: tuple[Site, ...]
    guide: tuple[Site, ...] = ()
    auto_guide: Expression | None = None
    networks: Mapping[str, Network] = field(default_factory=dict)
    bijectors: Mapping[str, Bijector] = field(default_factory=dict)
    critics: tuple[Critic, ...] = ()
    columns: Mapping[str, Column] = field(default_factory=dict)
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: int | None = None
    functions: Mapping[str, tuple[tuple[str, ...], Expression]] = field(default_factory=dict)
    objective: Expression | None = None
    train: Train = field(default_factory=Train)
    infer: Expression | None = None
    evaluate: Mapping[str, Expression] = field(default_factory=dict)
    runs: tuple[Inlined, ...] = ()
    frozen: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)
    source: Source = field(default=Source("<spec>", ""), compare=False, repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, Site]:
        """Data, parameter and model sites by name."""
        return {site.name: site for site in self.sites}

    @cached_property
    def guide_by_name(self) -> Mapping[str, Site]:
        """Guide sites by name."""
        return {site.name: site for site in self.guide}

    @cached_property
    def frozen_groups(self) -> frozenset[str]:
        """The parameter groups that finished runs brought along: nothing trains them."""
        return frozenset[str]().union(*(inlined.groups for inlined in self.runs))

    @cached_property
    def inherited(self) -> frozenset[str]:
        """The guide's sites that came along with finished runs."""
        return frozenset(name for inlined in self.runs for name in inlined.guide)

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """The model's graph: an edge from each parent to its child; nodes carry `site`."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        for site in self.sites:
            graph.add_node(site.name, site=site)
        for site in self.sites:
            graph.add_edges_from((parent, site.name) for parent in site.parents if parent in graph)
        return graph

    def with_role(self, *roles: Role) -> tuple[Site, ...]:
        """The sites of these roles in generative order."""
        return tuple(site for site in self.sites if site.role in roles)

    @property
    def observed(self) -> tuple[Site, ...]:
        """The observed sites."""
        return self.with_role(Role.OBSERVED)

    @property
    def latents(self) -> tuple[Site, ...]:
        """The local latent sites."""
        return self.with_role(Role.LATENT)

    def children(self, name: str) -> tuple[Site, ...]:
        """The sites that read `name`, in generative order."""
        return tuple(site for site in self.sites if name in site.parents)
