"""The log joint while latents are removed from it: a list of factors, each with the unknowns that it reads.

Factors are never nested text. Eliminating a latent takes exactly the factors that contain it and puts one factor in
their place; what is left when every exact rule has run is what the guide's expectation is taken of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dgmppl.objectives.algebra import LogDensity, Sum, Term
from dgmppl.objectives.derivation import Refusal, RuleApplication
from dgmppl.objectives.structure import Structure, Variable


@dataclass(frozen=True)
class Verdict:
    """A predicate's answer and its reason."""

    applies: bool
    why: str


@dataclass(frozen=True)
class Factor:
    """One summand of the log joint.

    Attributes:
        term: its expression.
        scope: the unknown variables that it reads.
        site: the site whose density it is; of an eliminated block: the first observed one in it, else the last one.
    """

    term: Term
    scope: frozenset[str]
    site: str


@dataclass(frozen=True)
class State:
    """The factors that are left and what has been eliminated so far.

    Attributes:
        structure: the program's random variables.
        factors: the log joint as it stands.
        sampler: `infer` samples the log joint, so that continuous latents may stay in it.
        eliminated: unknown -> the rule that removed it.
        rules, refusals: the record for `explain`.
        start: the factors before any elimination.
    """

    structure: Structure
    factors: tuple[Factor, ...]
    sampler: bool = False
    eliminated: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[RuleApplication, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    start: tuple[Factor, ...] = ()

    @property
    def remaining(self) -> tuple[str, ...]:
        """Unknown variables that are not eliminated yet, in generative order."""
        return tuple(name for name in self.structure.unknown if name not in self.eliminated)

    def containing(self, names: Iterable[str]) -> tuple[Factor, ...]:
        """The factors that read one of the names."""
        wanted = frozenset(names)
        return tuple(factor for factor in self.factors if factor.scope & wanted)

    def eliminate(self, names: tuple[str, ...], rule: str, why: str, term: Term) -> State:
        """The state after `names` have been removed: one factor in the place of the first that contained them."""
        taken = self.containing(names)
        scope = frozenset[str]().union(*(factor.scope for factor in taken)) - frozenset(names)
        data = [factor.site for factor in taken if factor.site in self.structure.observed_names]
        merged = Factor(term, scope, data[0] if data else taken[-1].site)
        kept = [factor for factor in self.factors if factor is taken[0] or factor not in taken]
        factors = [merged if factor is taken[0] else factor for factor in kept]
        done = {**self.eliminated, **dict.fromkeys(names, rule)}
        return replace(self, factors=tuple(factors), eliminated=done).used(rule, ", ".join(names), why)

    def used(self, rule: str, site: str, why: str) -> State:
        """The state with one more rule on record."""
        return replace(self, rules=(*self.rules, RuleApplication(rule, site, why)))

    def refused(self, rule: str, site: str, why: str) -> State:
        """The state with one more refusal on record."""
        return replace(self, refusals=(*self.refusals, Refusal(rule, site, why)))


def total(terms: Iterable[Term]) -> Term:
    """The sum of terms; a single term stands for itself."""
    found = tuple(terms)
    return found[0] if len(found) == 1 else Sum(found)


def log_density(variable: Variable, rule: str, section: str) -> LogDensity:
    """log p(variable | given)."""
    return LogDensity(variable.name, variable.given, section, rule, variable.joint)
