"""Densities of sites -> their log-probabilities and draws, one module per kind of density."""

from __future__ import annotations

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Density
from dgmppl.ir.program import Role, Site
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities import (  # noqa: F401  (they register forms)
    chains,
    diffusion,
    factorized,
    implicit,
    mixtures,
    pushforward,
    unnormalized,
)
from dgmppl.lowering.densities.elementary import density_of, density_value, divergence, noise_kind, noise_shape
from dgmppl.lowering.densities.forms import Variable, draw_from, log_densities, log_density
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import Lowered, combine, op, reduce_event
from dgmppl.lowering.scope import Scope

__all__ = ["density_of", "density_value", "divergence", "draw", "log_prob", "noise_kind", "noise_shape"]


def log_prob(scope: Scope, site: Site, *, stop: bool = False) -> Lowered:
    """log p(site | parents) at the site's value, one number per batch element.

    Entries that the data lack do not count: they are masked before the sum over the event.
    """
    density, value, variable = _density(site), lookup(scope, site.name), Variable.of(site)
    if site.name in value.axes or not _masked(scope, site):
        return log_density(density, scope, variable, value, stop=stop)
    each = log_densities(density, scope, variable, value, stop=stop)
    mask = scope.mask(site.name)
    return reduce_event(combine("mul", each, as_real(mask.with_value(mask.value, each.shape))), "sum")


def draw(scope: Scope, site: Site, *, stop: bool = False) -> Lowered:
    """A draw of a site as a function of its noise, bound to the site's name; chains in a circle are drawn together."""
    together = scope.value(site.name)
    if together is not None:
        return together
    sample = draw_from(_density(site), scope, Variable.of(site))
    if stop:
        sample = sample.with_value(op("stop", sample.value))
    result = scope.assign(site.name, sample)
    scope.bind(site.name, result)
    return result


def _density(site: Site) -> Density:
    if site.density is None:
        raise InternalError(f"{site.name!r} has no density")
    return site.density


def _masked(scope: Scope, site: Site) -> bool:
    column = scope.program.columns.get(site.name)
    drawn = scope.program.guide_by_name.get(site.name)
    return site.section == "model" and site.role is Role.OBSERVED and bool(column and column.missing) and drawn is None
