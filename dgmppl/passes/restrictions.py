"""Truncated, censored and ordered distributions: whether there is such a one at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dgmppl.ir.analyses import expressions
from dgmppl.ir.densities import Density, Elementary, Factorized, MarkovChain, MixtureOf, Restricted
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.ends import ends
from dgmppl.ir.expressions import Expression
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.types import REAL, Shape, Support
from dgmppl.passes.bounds import bounds_of
from dgmppl.passes.constants import constant
from dgmppl.passes.learned import as_number
from dgmppl.passes.problems import Problems, shown

_CODE = "impossible-restriction"


def check_restrictions(program: Program, sites: tuple[Site, ...], problems: Problems) -> None:
    """Report bounds that leave nothing, sorted vectors without a known density, and atoms where none can be.

    Args:
        program: for who reads whom.
        sites: typed.
        problems: where the reports go.
    """
    for site in sites:
        for density, shape in _restrictions(site.density, site.typed.shape):
            if density.kind == "ordered":
                _check_order(site, density, shape, problems)
            else:
                _check_bounds(site, density, problems)
            if density.kind == "censored":
                _check_atoms(program, site, density, problems)


def _restrictions(density: Density | None, shape: Shape) -> Iterator[tuple[Restricted, Shape]]:
    """Restricted densities that a density is made of, each with the shape of its values."""
    match density:
        case Restricted(base=base):
            yield density, shape
            yield from _restrictions(base, shape)
        case MixtureOf(components=parts):
            for part in parts:
                yield from _restrictions(part, shape)
        case MarkovChain(initial=initial, transition=transition):
            for part in (*(first for _, first in initial), transition):
                yield from _restrictions(part, shape[1:])
        case Factorized(conditional=conditional):
            yield from _restrictions(conditional, shape)


# ---- bounds ---------------------------------------------------------------------------------------------------------


def _check_bounds(site: Site, density: Restricted, problems: Problems) -> None:
    given = [None if bound is None else constant(bound) for bound in (density.low, density.high)]
    edges = bounds_of(_support(density.base))
    low = np.asarray(edges.low) if given[0] is None else given[0]
    high = np.asarray(edges.high) if given[1] is None else given[1]
    if (np.maximum(low, edges.low) >= np.minimum(high, edges.high)).any():
        problems.add(
            _CODE, f"nothing of the distribution of {site.name!r} lies between its bounds", density.span,
            expected=f"low < high, in {_support(density.base)}",
            found=", ".join(
                f"{name}={shown(bound)}" for name, bound in (("low", density.low), ("high", density.high)) if bound
            ),
        )  # fmt: skip
    moving = [end for end in ends(density.base) if end is not None and as_number(end) is None]
    if moving:
        problems.add(
            _CODE, f"{site.name!r} has bounds within bounds that are no numbers", moving[0].span or density.span,
            fix="write both as one pair, with `maximum` and `minimum`",
        )  # fmt: skip


def _support(base: Density) -> Support:
    """Where a distribution lies before it is restricted; the reals where that is not fixed."""
    if not isinstance(base, Elementary):
        return REAL
    low, high = ends(base)
    if low is not None or high is not None:
        numbers = [None if end is None else as_number(end) for end in (low, high)]
        return Support("interval", low=numbers[0], high=numbers[1])
    return DISTRIBUTIONS[base.family].support_of({})


def _check_atoms(program: Program, site: Site, density: Restricted, problems: Problems) -> None:
    """A value with atoms can be observed or predicted; as an unknown it has no density that an engine could climb."""
    if site.role is Role.OBSERVED or (site.section == "model" and not program.children(site.name)):
        return
    problems.add(
        _CODE, f"{site.name!r} is unknown and lies at a bound with positive probability", density.span,
        expected="data, or a site that nothing reads",
        fix="leave `Censored` away here, and read `clip(" + site.name + ", low, high)` where it is read",
    )  # fmt: skip


# ---- order ----------------------------------------------------------------------------------------------------------


def _check_order(site: Site, density: Restricted, shape: Shape, problems: Problems) -> None:
    if not shape:
        problems.add(
            _CODE, f"{site.name!r} is one number, and only vectors are ordered", density.span, fix="add `shape=3`"
        )
    elif not _open(density.base):
        problems.add(
            _CODE, f"the elements of {site.name!r} do not range over all real or all positive numbers", density.span,
            expected="a distribution on these, such as Ordered(Normal(0, 1), shape=3)",
        )  # fmt: skip
    elif any(map(_varies, expressions(density.base))):
        problems.add(
            _CODE, f"the elements of {site.name!r} have distributions of their own: sorted, their density is unknown",
            density.span, expected="one distribution for all elements of a vector, whose density is n! prod_i p(x_i)",
        )  # fmt: skip


def _open(base: Density) -> bool:
    """Whether values range over the reals or all positive ones, as those of the two bijections onto sorted vectors."""
    match base:
        case Elementary(family=family):
            return DISTRIBUTIONS[family].support_of({}).kind in {"real", "positive"}
        case Restricted(kind="truncated", base=inner, low=low, high=None) if low is not None:
            return as_number(low) == 0 and _open(inner)
    return False


def _varies(expression: Expression) -> bool:
    """Whether a parameter differs along the vector."""
    shape = () if expression.type is None else expression.type.shape
    return bool(shape) and shape[-1] > 1
