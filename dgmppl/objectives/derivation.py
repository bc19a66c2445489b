"""What follows from the structure: who is trained on what, by which rules, and what can be asked of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from dgmppl.ir.expressions import Expression
from dgmppl.objectives.algebra import Term


class Direction(Enum):
    """How a term's expected value lies against what it estimates."""

    EQUAL = "equal"
    LOWER = "lower"
    UPPER = "upper"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PlayerTerm:
    """One term of a player's loss, which is minimized.

    Attributes:
        expression: the tree; already negated where a likelihood is maximized (`Scale(-1, ...)`).
        estimates: what its expected value estimates or bounds, in words of mathematics.
        direction: how the negated loss lies against that quantity.
        role: `value`, `gradient` or `both`.
        value_unbiased, gradient_unbiased: of the Monte-Carlo estimator for the expression itself.
        weight: multiplies the loss.
    """

    expression: Term
    estimates: str
    direction: Direction
    role: str = "both"
    value_unbiased: bool = True
    gradient_unbiased: bool = True
    weight: float | Expression = 1.0


@dataclass(frozen=True, slots=True)
class Player:
    """Who moves: it owns parameter groups, and its gradient is taken with respect to those alone."""

    name: str
    owns: tuple[str, ...]
    terms: tuple[PlayerTerm, ...]
    every: int = 1


@dataclass(frozen=True)
class RuleApplication:
    """A rule that was used, where, and why."""

    rule: str
    site: str
    why: str


@dataclass(frozen=True)
class Refusal:
    """A rule that was not used for a site, and why not."""

    rule: str
    site: str
    why: str


@dataclass(frozen=True)
class Capability:
    """What can be asked of the model: `exact | bound | estimate | none`, and why."""

    level: str
    why: str


@dataclass(frozen=True)
class Objective:
    """What is trained, by whom.

    Attributes:
        status: `exact_likelihood lower_bound reweighted_bound score_divergence divergence_lower_bound regression
            gradient_only log_joint mixed`.
        divergence: the divergence between data and model that it descends, in words (`forward KL`), or None.
        players: in the order in which they move.
        likelihood: log p(x | parameters) as far as the rules get: exact, or its bound; None where there is none. What
            `log_prob` and `bound` are lowered from.
        log_joint: likelihood + log prior, for posteriors; None elsewhere.
    """

    status: str
    divergence: str | None
    players: tuple[Player, ...]
    likelihood: Term | None
    log_joint: Term | None = None


@dataclass(frozen=True)
class Derivation:
    """Everything that follows from a program's structure.

    Attributes:
        status: of log p(data | parameters): `exact | bound | unnormalized | implicit`.
        factorization: `p(x, z) = p(z) p(x | z)`.
        objective: what is trained.
        eliminated: latent -> the rule that removes it.
        rules: the rules used, in order.
        refusals: the rules not used, for the why-not report.
        capabilities: `log_prob`, `sample`, `posterior`, and further ones.
        engine: `gradient` (players), or an inference engine's call (`nuts(...)`, `svi(...)`) for posteriors.
        references: papers, keyed by rule.
        notes: statements that must be printed (conditioned-on lags, missing at random, reweighting, biases).
        discrete_log_prob: `bound` where data are dequantized.
    """

    status: str
    factorization: str
    objective: Objective
    eliminated: Mapping[str, str]
    rules: tuple[RuleApplication, ...]
    refusals: tuple[Refusal, ...]
    capabilities: Mapping[str, Capability]
    engine: Expression | None = None
    references: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    discrete_log_prob: str | None = None
    warnings: tuple[object, ...] = field(default=())
