"""f-divergences that a spec declares by their generator: `f(u * log(u))`, u = p/q.

No conjugate is asked for. With a critic that gives log r, r a density ratio,

    sup_r E_p[f'(r)] - E_q[r f'(r) - f(r)] = D_f(p || q), attained at r = p/q,

since f*(f'(r)) = r f'(r) - f(r) (Nguyen, Wainwright and Jordan 2010, lemma 1; Nowozin, Cseke and Tomioka 2016, eq. 5).
That f is a generator is checked in numbers, at ratios between 0.01 and 100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dgmppl.errors import SpecError
from dgmppl.ir.calculus import Array, derivative, evaluate
from dgmppl.ir.expressions import Call, Expression, text
from dgmppl.ir.objective_options import RATIO
from dgmppl.objectives.divergences import FDivergence
from dgmppl.source import Diagnostic

_NODES = np.exp(np.linspace(-1.0, 1.0, 401) * np.log(100.0))
_TOLERANCE = 1e-7
# A derivative that rises by less from node to node is constant there; where it is so at most of them, nothing is left
# to learn from.
_FLAT, _MOSTLY = 1e-9, 0.9
# The log-ratios between which a conjugate's maximum is sought, and how often that interval is halved.
_REACH, _HALVINGS = 300.0, 80


def declared(call: Call) -> tuple[FDivergence, Expression]:
    """The divergence of `f(generator)`, and the generator.

    Raises:
        SpecError: f(1) is not 0, f is not finite or not convex, or its divergence is 0 for every pair.
    """
    generator = call.arguments[0] if call.arguments else call.keywords[0][1]
    slope = derivative(generator, RATIO)
    problem = next(_problems(generator, slope), None)
    if problem is not None:
        raise SpecError([problem])

    def f(u: Array) -> Array:
        return evaluate(generator, {RATIO: np.asarray(u)})

    def optimal(u: Array) -> Array:
        return np.broadcast_to(evaluate(slope, {RATIO: np.asarray(u)}), np.shape(u))

    def conjugate(t: Array) -> Array:
        ratio = _where_slope_is(optimal, t)
        return np.asarray(ratio * t - f(ratio))

    written = text(generator)
    return (
        FDivergence(
            "f", "D_f(p ‖ q)", written, "u f′(u) − f(u) where f′(u) = t", text(slope), f, conjugate, optimal,
            lambda v: optimal(np.exp(v)), (_limit(optimal, -1.0), _limit(optimal, 1.0)),
            limit="T = f′(r) and f*(T) = r f′(r) − f(r), where log r is the critic's output",
            reference="Nguyen, Wainwright and Jordan 2010, lemma 1; Nowozin, Cseke and Tomioka 2016, eq. 5",
        ),
        generator,
    )  # fmt: skip


def _limit(optimal: Callable[[Array], Array], sign: float) -> float:
    """What f' tends to where the log-ratio goes to sign * infinity: what it is far out, if it no longer changes."""
    near, far = (float(optimal(np.exp(np.asarray(sign * reach)))) for reach in (0.5 * _REACH, _REACH))
    settled = np.isfinite(far) and abs(far - near) <= _FLAT * (1.0 + abs(far))
    return far if settled else sign * np.inf


def _where_slope_is(optimal: Callable[[Array], Array], t: Array) -> Array:
    """The ratio at which f' reaches t, by bisection of its logarithm: f' does not fall."""
    low, high = np.full(np.shape(t), -_REACH), np.full(np.shape(t), _REACH)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        below = optimal(np.exp(middle)) < t
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(np.exp(0.5 * (low + high)))


# ---- whether it is a generator --------------------------------------------------------------------------------------


def _problems(generator: Expression, slope: Expression) -> Iterator[Diagnostic]:
    """What keeps an expression from being a generator; later checks presume that earlier ones have passed."""
    values = np.broadcast_to(evaluate(generator, {RATIO: _NODES}), _NODES.shape)
    slopes = np.broadcast_to(evaluate(slope, {RATIO: _NODES}), _NODES.shape)
    wrong = np.flatnonzero(~(np.isfinite(values) & np.isfinite(slopes)))
    if wrong.size:
        node = _NODES[wrong[0]]
        yield _problem(generator, f"f and its derivative are not finite at u = {node:.3g}", "both finite for u > 0")
        return
    yield from _normalized(generator)
    yield from _convex(generator, values, slopes)
    if (np.diff(slopes) <= _FLAT * (1.0 + np.abs(slopes[1:]))).mean() > _MOSTLY:
        why = "f is made of straight lines: its derivative is constant almost everywhere and teaches a critic nothing"
        yield _problem(generator, why, "f strictly convex", "for |u − 1| / 2 write `divergence=total_variation`")


def _normalized(generator: Expression) -> Iterator[Diagnostic]:
    at_one = float(evaluate(generator, {RATIO: np.ones(())}))
    if abs(at_one) > _TOLERANCE:
        sign = "-" if at_one > 0 else "+"
        fix = f"write `f({text(generator)} {sign} {abs(at_one):g})`"
        yield _problem(generator, f"f(1) is {at_one:g}", "f(1) = 0: equal distributions are no distance apart", fix)


def _convex(generator: Expression, values: Array, slopes: Array) -> Iterator[Diagnostic]:
    """The Fenchel-Young inequality f(u) + r f'(r) - f(r) >= u f'(r) at all pairs of nodes, which is convexity."""
    u, r = _NODES[:, None], _NODES[None]
    terms = (values[:, None], r * slopes, values[None], u * slopes)
    gap = terms[0] + terms[1] - terms[2] - terms[3]
    size = 1.0 + sum(np.abs(term) for term in terms)
    if (gap >= -_TOLERANCE * size).all():
        return
    # Between neighbours the slope falls where f is not convex: the first such place says more than a far pair.
    falls = np.flatnonzero(np.diff(slopes) < -_TOLERANCE * (1.0 + np.abs(slopes[1:])))
    place = int(falls[0]) if falls.size else int(np.unravel_index(np.argmin(gap / size), gap.shape)[1])
    after = min(place + 1, len(_NODES) - 1)
    why = (
        f"f is not convex: its derivative falls from {slopes[place]:.6g} at u = {_NODES[place]:.3g} "
        f"to {slopes[after]:.6g} at u = {_NODES[after]:.3g}"
    )
    yield _problem(generator, why, "a convex f, for which E_p[f′(r)] − E_q[r f′(r) − f(r)] is a lower bound")


def _problem(generator: Expression, message: str, expected: str, fix: str | None = None) -> Diagnostic:
    return Diagnostic("divergence-generator", message, generator.span, expected, f"`{text(generator)}`", fix)
