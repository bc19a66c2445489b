"""The random variables of a program: what is one variable under several names, what each depends on, what is unknown.

A bijection's base and its image are one random variable: x = f(z) leaves a single unknown, which is named by its
observed member, else by the member that the guide names, else by the last image. All rules work on these variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dgmppl.ir.analyses import deterministic, expressions, reads, sources
from dgmppl.ir.densities import Deterministic, Elementary, MarkovChain, MixtureOf, Pushforward
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.expressions import free_names
from dgmppl.ir.graphs import parents_first, reachable
from dgmppl.ir.program import Program, Role, Site
from dgmppl.objectives.capabilities import Ability, abilities

if TYPE_CHECKING:
    import networkx as nx

_LOCAL = frozenset({Role.OBSERVED, Role.LATENT})
_CONDITIONING = _LOCAL | {Role.COVARIATE, Role.PARAMETER}


@dataclass(frozen=True)
class Variable:
    """One random variable of the model, or of the guide.

    Attributes:
        name: the name that stands for it.
        site: the site whose density expands it.
        given: what it is conditioned on, in generative order: variables, covariates, parameters with priors.
        bases: names of the pushed-forward variables that are substituted, innermost last.
        joint: all names of a joint site, its own included; empty elsewhere.
    """

    name: str
    site: Site
    given: tuple[str, ...]
    bases: tuple[str, ...] = ()
    joint: tuple[str, ...] = ()


@dataclass(frozen=True)
class Structure:
    """A program's random variables and how they hang together."""

    program: Program

    # ---- one variable, several names ------------------------------------------------------------------------------

    @cached_property
    def canonical(self) -> Mapping[str, str]:
        """Every name of a pushed-forward variable -> the name that stands for it."""
        edges = [
            (site.density.base, site.name)
            for site in self.program.sites
            if isinstance(site.density, Pushforward) and self._random(site.density.base)
        ]
        if not edges:
            return {}
        import networkx as nx

        tree: nx.DiGraph[str] = nx.DiGraph(edges)
        names: dict[str, str] = {}
        for component in nx.weakly_connected_components(tree):
            chosen = self._representative(tree.subgraph(component))
            names |= dict.fromkeys(component, chosen)
        return names

    def _random(self, name: str) -> bool:
        site = self.program.by_name.get(name)
        return site is not None and site.role in _LOCAL

    def _representative(self, tree: nx.DiGraph[str]) -> str:
        ordered = [site.name for site in self.program.sites if site.name in tree]
        for known in (self.observed_names, frozenset(self.program.guide_by_name)):
            named = [name for name in ordered if name in known]
            if named:
                return named[0]
        branches = any(degree > 1 for _, degree in tree.out_degree())
        return ordered[0] if branches else ordered[-1]

    def name_of(self, name: str) -> str:
        """The name that stands for a variable."""
        return self.canonical.get(name, name)

    def aliases(self, name: str) -> tuple[str, ...]:
        """Every name of a variable, in generative order."""
        return tuple(site.name for site in self.program.sites if self.name_of(site.name) == name)

    # ---- variables ------------------------------------------------------------------------------------------------

    @cached_property
    def observed_names(self) -> frozenset[str]:
        """The names of the observed sites."""
        return frozenset(site.name for site in self.program.observed)

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """The random variables of one datum that bear on the data, in generative order."""
        found: dict[str, Variable] = {}
        for site in self.program.with_role(*_LOCAL):
            if self.name_of(site.name) == site.name and site.name not in self.dropped:
                found[site.name] = self.variable(site)
        return found

    def variable(self, site: Site, *, guide: bool = False) -> Variable:
        """The variable that a site's density expands."""
        bases, read = self._read(site, guide)
        names = {self.name_of(name) for name in read} - {self.name_of(site.name), *site.joint, *bases}
        return Variable(site.name, site, self.ordered(names), bases, site.joint)

    def _read(self, site: Site, guide: bool) -> tuple[tuple[str, ...], frozenset[str]]:
        direct = frozenset(site.parents).union(*(free_names(part) for part in expressions(site.density)))
        read = sources(self.program, direct, guide=guide)
        bases: tuple[str, ...] = ()
        if isinstance(site.density, Pushforward):
            base = self._site(site.density.base, guide)
            inner, more = self._read(base, guide)
            bases, read = (base.name, *inner), (read | more) - {base.name}
        if guide:
            helpers = [name for name in read if name in self.auxiliary and name != site.name]
            read = (read - set(helpers)).union(*(self._read(self._site(name, True), True)[1] for name in helpers))
        return bases, read

    def _site(self, name: str, guide: bool) -> Site:
        found = self.program.guide_by_name.get(name) if guide else None
        return found or self.program.by_name[name]

    def ordered(self, names: set[str] | frozenset[str]) -> tuple[str, ...]:
        """Those of the names that can be conditioned on, in generative order; networks with a prior last."""
        sites = tuple(site.name for site in self.program.sites if site.name in names and site.role in _CONDITIONING)
        networks = self.program.networks.items()
        return sites + tuple(name for name, network in networks if name in names and network.prior is not None)

    @cached_property
    def dropped(self) -> frozenset[str]:
        """Latents that bear on no datum: without an observed descendant, and without a guide."""
        sites = self.program.by_name
        kept = set(
            reachable(self.observed_names, lambda name: (parent for parent in sites[name].parents if parent in sites))
        )
        kept |= {peer for name in kept for peer in self.program.by_name[name].joint}
        kept |= {self.name_of(name) for name in kept | set(self.program.guide_by_name)}
        return frozenset(site.name for site in self.program.latents if self.name_of(site.name) not in kept)

    # ---- what is unknown ------------------------------------------------------------------------------------------

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Names of the variables that are not (or not in every row) observed, in generative order."""
        return tuple(
            name
            for name, variable in self.variables.items()
            if variable.site.role is Role.LATENT or name in self.partly_observed
        )

    @cached_property
    def incomplete(self) -> tuple[str, ...]:
        """The observed variables whose column has missing entries."""
        columns = self.program.columns
        return tuple(
            name for name in self.variables if name in self.observed_names and name in columns and columns[name].missing
        )

    @cached_property
    def partly_observed(self) -> tuple[str, ...]:
        """Observed variables whose missing entries are latents: something reads them, or a guide covers them."""
        read = {name for variable in self.variables.values() for name in variable.given}
        return tuple(
            name
            for name in self.incomplete
            if name in read or name in self.program.guide_by_name or not self.maskable(name)
        )

    def maskable(self, name: str) -> bool:
        """Whether missing entries of a variable can simply drop out of its density."""
        site = self.variables[name].site
        if site.type is not None and site.type.shape == ():
            return True
        return _elementwise_density(site)

    def scope(self, variable: Variable) -> frozenset[str]:
        """The unknown variables that a variable's density reads, itself included."""
        return frozenset({variable.name, *variable.joint, *variable.given}) & frozenset(self.unknown)

    def readers(self, name: str) -> tuple[Variable, ...]:
        """The variables whose density is conditioned on `name`, in generative order."""
        return tuple(variable for variable in self.variables.values() if name in variable.given)

    # ---- the guide ------------------------------------------------------------------------------------------------

    @cached_property
    def auxiliary(self) -> frozenset[str]:
        """Guide sites that are no variable of the model: helpers, and noise that the guide's own sites read."""
        return frozenset(site.name for site in self.program.guide if site.name not in self.program.by_name)

    @cached_property
    def guided(self) -> Mapping[str, Variable]:
        """Model variable -> its guide's variable, in the guide's sampling order."""
        found: dict[str, Variable] = {}
        for site in self.program.guide:
            known = self.program.by_name.get(site.name)
            if known is not None and known.role in _LOCAL:
                found[self.name_of(site.name)] = self.variable(site, guide=True)
        parents = {name: [parent for parent in variable.given if parent in found] for name, variable in found.items()}
        return {name: found[name] for name in parents_first(parents)}

    @cached_property
    def guided_parameters(self) -> tuple[str, ...]:
        """Names of parameters with priors that the declared guide covers."""
        parameters = {site.name for site in self.program.with_role(Role.PARAMETER)}
        return tuple(site.name for site in self.program.guide if site.name in parameters)

    def sampled_after(self, name: str) -> frozenset[str]:
        """The variables that the guide samples given `name`, directly or through others."""

        def next_to(known: str) -> list[str]:
            return [child for child, variable in self.guided.items() if known in variable.given]

        return reachable([name], next_to) - {name}

    def critic_reads(self, number: int) -> frozenset[str]:
        """What a critic's expression depends on, by the names that stand for the variables."""
        names = reads(self.program, self.program.critics[number].expression)
        return frozenset(self.name_of(name) for name in names | set(self.program.critics[number].reads))

    def implicit_guide(self, name: str) -> bool:
        """Whether the guide's variable has samples but no density."""
        return Ability.LOG_PROB not in abilities(self.program, self.guided[name].site)


def _elementwise_density(site: Site) -> bool:
    match site.density:
        case Elementary(family=family):
            return DISTRIBUTIONS[family].event_rank == 0 or family == "MultivariateNormal"
        case MixtureOf(joint=joint):
            return not joint
        case MarkovChain(transition=transition, lag=0):
            return isinstance(transition, (Elementary, Deterministic))
        case _:
            return False


def random_parameters(program: Program) -> tuple[str, ...]:
    """Names of everything global with a prior: `parameters` entries, then networks with a prior over their weights."""
    sites = tuple(site.name for site in program.with_role(Role.PARAMETER) if not deterministic(site))
    return sites + tuple(name for name, network in program.networks.items() if network.prior is not None)
