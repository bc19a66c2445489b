"""The ends of a density's support as expressions: numbers, or values of earlier parameters, with which they move."""

from __future__ import annotations

from collections.abc import Mapping

from dgmppl.ir.densities import Density, Elementary, FlatPrior, Restricted
from dgmppl.ir.expressions import Expression, Literal
from dgmppl.ir.program import Site

# Families whose parameters are ends of their support: the lower one, the upper one.
_ENDS: Mapping[str, tuple[str | None, str | None]] = {"Uniform": ("low", "high"), "Pareto": ("scale", None)}

Ends = tuple[Expression | None, Expression | None]


def ends(density: Density | None) -> Ends:
    """The lower and the upper end of a density's support, as it names them; None where it names none."""
    match density:
        case FlatPrior(low=low, high=high) | Restricted(kind="truncated", low=low, high=high):
            return low, high
        case Elementary(family=family) if family in _ENDS:
            low, high = (None if name is None else density.parameter(name) for name in _ENDS[family])
            return low, high
    return None, None


def moving_ends(site: Site) -> Ends:
    """The ends that the type of a site's support does not have as numbers: no bijection of a table reaches them."""
    (low, high), support = ends(site.density), site.typed.support
    if support.kind == "interval":
        return None if support.low is not None else low, None if support.high is not None else high
    at_zero = isinstance(low, Literal) and low.value == 0
    return None if at_zero else low, high


def moves(site: Site) -> bool:
    """Whether an end of a site's support is known by its density alone, most often because it depends on others."""
    return moving_ends(site) != (None, None)
