"""The namespace of a spec: what every name stands for, and which names may be read where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from dgmppl.ir.bijectors import Bijector
from dgmppl.ir.data import Column
from dgmppl.ir.densities import Learned
from dgmppl.ir.distributions import COMBINATORS, DISTRIBUTIONS
from dgmppl.ir.expressions import Expression
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.networks import Network
from dgmppl.ir.program import IndexKind, Role, Site
from dgmppl.passes.problems import Problems
from dgmppl.spec.syntax import Spec


@dataclass
class Scope:
    """All names of a spec, and the sites that have been declared so far.

    Attributes:
        columns: the data schema.
        networks, bijectors: by name; complete before the first site is read.
        functions: local functions, name -> (arguments, body).
        sites: covariates, parameters and model sites declared so far.
        guide: guide sites declared so far.
        later: every declared name -> its section, whether or not it has been read yet.
        hoisted: learned parameters that stand inline in the guide.
        indexed: names declared with a time index, in model and guide: their lags may be read before they are defined.
        compared: names that critics compare; samples of them may be rows of other data.
        trusted: `python(...)` may import code of the user's own.
    """

    columns: Mapping[str, Column]
    problems: Problems
    networks: dict[str, Network] = field(default_factory=dict)
    bijectors: dict[str, Bijector] = field(default_factory=dict)
    functions: dict[str, tuple[tuple[str, ...], Expression]] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    guide: dict[str, Site] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    hoisted: dict[str, Learned] = field(default_factory=dict)
    indexed: frozenset[str] = frozenset()
    compared: frozenset[str] = frozenset()
    trusted: bool = False

    def visible(self, section: str) -> Mapping[str, Site]:
        """The sites that an expression of this section may read."""
        if section != "guide":
            return self.sites
        readable = {name: site for name, site in self.sites.items() if self._guide_reads(site)}
        return {**readable, **self.guide}

    def _guide_reads(self, site: Site) -> bool:
        """The guide conditions on what is known when it is sampled: no latent that it has not sampled itself."""
        waiting, seen = [site], set[str]()
        while waiting:  # sites that read each other in a circle, which is reported elsewhere, are seen once
            reached = waiting.pop()
            if reached.role is Role.LATENT:
                return False
            if reached.role is Role.DETERMINISTIC and reached.name not in seen:
                seen.add(reached.name)
                parents = (name for name in reached.parents if name in self.sites and name not in self.guide)
                waiting += [self.sites[name] for name in parents]
        return True

    def site(self, name: str, section: str) -> Site | None:
        """A readable site, or None."""
        return self.visible(section).get(name)

    def is_level(self, name: str) -> bool:
        """Whether `name` is a parameter with one copy per level."""
        site = self.sites.get(name)
        return site is not None and site.index is IndexKind.LEVEL

    def callables(self) -> Iterator[str]:
        """Every name that may stand before an argument list in an expression."""
        yield from (*self.networks, *self.bijectors, *self.functions, *FUNCTIONS, *DISTRIBUTIONS, *COMBINATORS)


@dataclass(frozen=True)
class Context:
    """Where an expression stands.

    Attributes:
        section: `parameters`, `model`, `guide` or `critics`.
        own: the names that the declaration defines.
        index: the free index of the key (`t`, `i`), or None.
        position: of a chain's start of its own, `z[1]: ...`, which may read the starts before it; else None.
        kind: what the key's index means.
        level: the level's column of a level-indexed parameter.
        potential: self references are allowed (energies).
        local: argument names of the local function whose body this is.
        prefix: the group of inline learned parameters (`guide.z`), or None where they may not stand.
    """

    section: str
    own: tuple[str, ...] = ()
    index: str | None = None
    position: int | None = None
    kind: IndexKind = IndexKind.NONE
    level: str | None = None
    potential: bool = False
    local: tuple[str, ...] = ()
    prefix: str | None = None

    def as_potential(self) -> Context:
        """The same place, inside an energy."""
        return replace(self, potential=True)

    def named(self, parameter: str) -> Context:
        """The same place, inside the parameter of a distribution: the name of an inline learned value."""
        return self if self.prefix is None else replace(self, prefix=f"{self.prefix}.{parameter}")


def declare(spec: Spec, scope: Scope) -> None:
    """Enter every name of a spec into the scope; the reader has refused clashes."""
    for column in spec.data:
        scope.later[column.name] = "data"
    guide = spec.guide if isinstance(spec.guide, tuple) else ()
    sections = (
        ("parameters", spec.parameters),
        ("networks", spec.networks),
        ("bijectors", spec.bijectors),
        ("model", spec.model),
        ("guide", guide),
    )
    for section, declarations in sections:
        for declaration in declarations:
            for name in declaration.key.names:
                scope.later.setdefault(name, section)
