"""What is taken of a finished run: the sites that one site needs, with what they read, under names of their own.

Nothing is listed beforehand: whatever a renamed expression names is taken next, until nothing new is named. What is
given has a name already, and so ends the search.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dgmppl.ir.bijectors import Bijector
from dgmppl.ir.densities import DiffusionChain, TrainedDensity
from dgmppl.ir.expressions import Expression
from dgmppl.ir.networks import Network
from dgmppl.ir.program import Program, Role, Site
from dgmppl.passes.problems import Problems
from dgmppl.passes.renaming import Renaming
from dgmppl.passes.rhs import is_random
from dgmppl.passes.run_checks import mismatch

DRAWN = frozenset({Role.OBSERVED, Role.LATENT})


@dataclass
class Taking:
    """Parts of a run on their way into a program.

    Attributes:
        program: the one that they are taken for.
        site: the site that the run stands for.
        density: how it is named there.
        of: the run's program.
        problems: what does not fit.
        names: name in the run -> name in the program; at the start what is given, and the site itself.
        sites, guide: the sites taken, by their names in the run.
        networks, bijectors, functions: by their names in the program.
    """

    program: Program
    site: Site
    density: TrainedDensity
    of: Program
    problems: Problems
    names: dict[str, str]
    sites: dict[str, Site] = field(default_factory=dict)
    guide: dict[str, Site] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    bijectors: dict[str, Bijector] = field(default_factory=dict)
    functions: dict[str, tuple[tuple[str, ...], Expression]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.guides = self.site.section == "guide"
        self.prefix = f"guide.{self.site.name}" if self.guides else self.site.name
        self.renaming = Renaming(self.name, self.prefix, self.density.span)
        self.pending: list[str] = []

    def name(self, name: str) -> str:
        """A name of the run as the program knows it; what has none yet is taken next, under a name of its own."""
        if name not in self.names and self._known(name):
            site = self.of.by_name.get(name)
            outside = site is not None and site.role is Role.COVARIATE
            self.names[name] = self._outside(name) if outside else f"{self.prefix}.{name}"
            if not outside:
                self.pending.append(name)
        return self.names.get(name, name)

    def _known(self, name: str) -> bool:
        tables = (self.of.by_name, self.of.guide_by_name, self.of.networks, self.of.bijectors, self.of.functions)
        return any(name in table for table in tables)

    def _outside(self, name: str) -> str:
        """A covariate of the run is what the program calls so."""
        if name not in self.program.by_name:
            mismatch(
                self.problems,
                self.density,
                f"the run {self.density.run!r} reads the column {name!r}, which is not here",
                expected=f"data, or a site, of the name {name!r}",
                fix=f"declare `{name}` in `data`",
            )
        return name

    def take(self, site: Site) -> None:
        """A site of the run's, and whatever it reads."""
        self._take(site)
        while self.pending:
            name = self.pending.pop(0)
            if name in self.of.networks:
                self._network(self.of.networks[name])
            elif name in self.of.bijectors:
                self.bijectors[self.names[name]] = self.renaming.bijector(self.of.bijectors[name])
            elif name in self.of.functions:
                arguments, body = self.of.functions[name]
                self.functions[self.names[name]] = (arguments, self.renaming.expression(body))
            else:
                first, second = self.of.by_name, self.of.guide_by_name
                if self.guides:
                    first, second = second, first
                self._take(first[name] if name in first else second[name])

    def _network(self, network: Network) -> None:
        if network.prior is not None:
            self._no_point(network.name)
        self.networks[self.names[network.name]] = self.renaming.network(network)

    def _take(self, site: Site) -> None:
        """A site of the run's under its name in the program; the site itself keeps the role that it has there."""
        if site.role is Role.PARAMETER and site.density is not None and is_random(site.density):
            self._no_point(site.name)
        density = None if site.density is None else self.renaming.density(site.density)
        if isinstance(density, DiffusionChain):
            density = replace(density, drop=0.0)  # conditions are dropped in training alone
        learned, guide = site.role is Role.LEARNED, site.section == "guide"
        role = Role.LATENT if site.role is Role.OBSERVED else site.role
        taken = replace(
            site,
            name=self.names[site.name],
            section="parameters" if learned else site.section,
            role=self.site.role if self.names[site.name] == self.site.name and guide == self.guides else role,
            density=density,
            type=None,
            level=None if site.level is None else self.name(site.level),
            parents=tuple(map(self.name, site.parents)),
            joint=tuple(map(self.name, site.joint)),
            span=self.density.span,
        )
        (self.guide if guide and not learned else self.sites)[site.name] = taken

    def _no_point(self, name: str) -> None:
        self.problems.add(
            "unusable-run",
            f"the run {self.density.run!r} has a posterior over {name!r}, and no single value to freeze",
            self.density.span,
            expected="a run whose parameters are `learned`, and whose networks have no priors",
        )

    # ---- the run's guide ------------------------------------------------------------------------------------------

    def take_guide(self) -> None:
        """The run's guide of every latent here, where it reads nothing that is not; else the usual one is derived."""
        drawn = [name for name in self.names if name in self.of.by_name and self.of.by_name[name].role in DRAWN]
        declared = self.program.guide_by_name
        chosen: dict[str, None] = {}
        for name in drawn:
            if self.names[name] not in declared:
                chosen |= dict.fromkeys(self._guided(name))
        for name in chosen:
            self.names.setdefault(name, f"{self.prefix}.{name}")
        for name in chosen:
            self.take(self.of.guide_by_name[name])

    def _guided(self, name: str) -> tuple[str, ...]:
        """The guide's sites that draw a latent, itself last; none where they read a variable that is not here."""
        found: dict[str, None] = {}
        pending = [name]
        while pending:
            site = self.of.guide_by_name.get(pending[-1])
            if site is None or any(map(self._absent, site.parents)):
                return ()
            waiting = [other for other in site.parents if other not in found and self._helps(other)]
            pending += waiting
            if not waiting:
                found.setdefault(pending.pop())
        return tuple(found)

    def _helps(self, name: str) -> bool:
        return name in self.of.guide_by_name and name not in self.of.by_name

    def _absent(self, name: str) -> bool:
        site = self.of.by_name.get(name)
        if site is None or name in self.names:
            return False
        return site.role in DRAWN or (site.role is Role.COVARIATE and name not in self.program.by_name)
