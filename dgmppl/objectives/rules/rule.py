"""The form of a rule: its mathematics, its source, a pure predicate, and what it does where the predicate holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dgmppl.ir.program import Program, Site
from dgmppl.objectives.state import State, Verdict


@dataclass(frozen=True)
class Expansion:
    """How log p(site | parents) is computed.

    Attributes:
        name: the rule's name.
        mathematics: the identity, in Unicode.
        reference: where it is from.
        level: of the value: `exact`, `bound` or `unnormalized`.
        predicate: whether it applies to a site.
    """

    name: str
    mathematics: str
    reference: str
    level: str
    predicate: Callable[[Program, Site], Verdict]


@dataclass(frozen=True)
class Elimination:
    """How an unknown is removed from the log joint.

    Attributes:
        name: the rule's name.
        mathematics: the identity or bound, in Unicode.
        reference: where it is from.
        level: of the result: `exact`, `bound` or `implicit`.
        predicate: whether it applies to an unknown variable in the present state.
        rewrite: the state without the variable (and without those that go with it).
    """

    name: str
    mathematics: str
    reference: str
    level: str
    predicate: Callable[[State, str], Verdict]
    rewrite: Callable[[State, str], State]


@dataclass(frozen=True)
class Target:
    """What is trained where a density is missing, or where parameters are random.

    Attributes:
        name: the rule's name.
        mathematics: what is optimized, in Unicode.
        reference: where it is from.
        predicate: whether it applies to a site (for `parameter_prior`: to a parameter or a network's name).
    """

    name: str
    mathematics: str
    reference: str
    predicate: Callable[[State, str], Verdict]


Rule = Expansion | Elimination | Target
