"""The two halves of a variational dual as formulas of a critic's raw output v.

E_p[positive(v)] - E_q[negative(v)] is a lower bound on the divergence for every critic. For an f-divergence
positive(v) = T = g(v), g mapping the reals into the domain of f*, and negative(v) = f*(g(v)) (Nowozin, Cseke and
Tomioka 2016, table 2); both are written in one piece, so that nothing overflows where g saturates. Least squares and
hinge carry the constants that make their supremum the divergence itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dgmppl.ir.calculus import derivative, multiply, subtract, without_logs_of_exp
from dgmppl.ir.expressions import Call, Expression, Literal, Name, substitute, text
from dgmppl.ir.objective_options import RATIO
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import Lowered
from dgmppl.lowering.scope import Scope
from dgmppl.objectives.divergences import ALPHA
from dgmppl.source import Source, Span
from dgmppl.spec.expression import parse


@dataclass(frozen=True, slots=True)
class Dual:
    """A divergence's dual.

    Attributes:
        positive, negative: the halves that the critic ascends, in the language's own notation with `v` for its output.
        raised, lowered: what the generator's non-saturating update ascends on its own samples and descends on the other
            side's. By default the roles are exchanged: the samples are treated as data (Goodfellow et al. 2014,
            section 3).
        whole: positive(v) - negative(w), where that takes fewer operations in one piece.
    """

    positive: str
    negative: str
    raised: str = ""
    lowered: str = ""
    whole: str = ""

    @property
    def non_saturating(self) -> tuple[str, str]:
        """(raised, lowered)."""
        return self.raised or self.positive, self.lowered or self.negative


_DUALS: Mapping[str, Dual] = {
    "kl": Dual("v", "exp(v - 1)"),
    "reverse_kl": Dual("-exp(-v)", "v - 1", whole="1 - exp(-v) - w"),
    "js": Dual(
        "0.5 * (log(2) - softplus(-v))",
        "0.5 * (softplus(v) - log(2))",
        whole="log(2) - 0.5 * (softplus(-v) + softplus(w))",
    ),
    "total_variation": Dual("0.5 * tanh(v)", "0.5 * tanh(v)", whole="0.5 * (tanh(v) - tanh(w))"),
    "pearson": Dual("v", "0.25 * square(v) + v"),
    "hellinger": Dual("1 - exp(-v)", "exp(v) - 1", whole="2 - exp(-v) - exp(w)"),
    "wasserstein": Dual("v", "v"),
    # Mao et al. 2017, section 3.2, and Lim and Ye 2017: the generator of a hinge game has no hinge.
    "least_squares": Dual("1 - 2 * square(v - 1)", "2 * square(v)"),
    "hinge": Dual("minimum(v, 1)", "maximum(v, -1)", "v", "v"),
}


def dual_of(divergence: str, options: Mapping[str, Expression]) -> Dual:
    """The dual of a divergence by its name and the settings that it was given."""
    if divergence == "f":
        return _declared(options["generator"])
    if divergence != "alpha":
        return _DUALS[divergence]
    given = options.get("alpha")
    order = float(given.value) if isinstance(given, Literal) and isinstance(given.value, int | float) else ALPHA
    return _alpha(order)


def _alpha(order: float) -> Dual:
    """T = v above order one, else (1 - exp(-v)) / (1 - order); f* as in `divergences.alpha_divergence`."""
    beta, power = order - 1.0, order / (order - 1.0)
    if beta > 0:
        return Dual("v", f"(maximum(1 + {beta!r} * v, 0) ** {power!r} - 1) / {order!r}")
    return Dual(f"(1 - exp(-v)) / {-beta!r}", f"(exp({-power!r} * v) - 1) / {order!r}")


def _declared(generator: Expression) -> Dual:
    """T = f'(r) and f*(T) = r f'(r) - f(r) at r = exp(v), as in `objectives.generators`."""
    slope, ratio = derivative(generator, RATIO), Call("exp", (Name("v"),))
    halves = (slope, subtract(multiply(Name(RATIO), slope), generator))
    positive, negative = (text(without_logs_of_exp(substitute(half, {RATIO: ratio}))) for half in halves)
    return Dual(positive, negative)


def evaluate(scope: Scope, formula: str, **raw: Lowered) -> Lowered:
    """A formula of a dual at a critic's raw outputs."""
    source = Source("<dual>", formula)
    with scope.branch():
        for name, output in raw.items():
            scope.bind(name, output)
        return lower_expression(scope, parse(formula, Span(source, 1, 1, 1, len(formula) + 1)))
