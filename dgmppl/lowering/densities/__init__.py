"""Densities of sites -> their log-probabilities and draws, one module per kind of density."""

from __future__ import annotations

from dgmppl.ir.program import Role, Site
from dgmppl.lowering.densities import (  # noqa: F401  (they register forms)
    chains,
    diffusion,
    factorized,
    flat,
    implicit,
    mixtures,
    pushforward,
    restricted,
    unnormalized,
)
from dgmppl.lowering.densities.elementary import density_of, density_value, divergence, noise_kind, noise_shape
from dgmppl.lowering.densities.forms import Variable, draw_site, log_densities, log_density, sum_of_present
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.latents import imputed
from dgmppl.lowering.layout import Lowered
from dgmppl.lowering.scope import Scope

__all__ = ["density_of", "density_value", "divergence", "draw", "log_prob", "noise_kind", "noise_shape"]


def log_prob(scope: Scope, site: Site, *, stop: bool = False) -> Lowered:
    """log p(site | parents) at the site's value, one number per batch element.

    Entries that the data lack do not count: they are masked before the sum over the event.
    """
    density, value, variable = site.law, lookup(scope, site.name), Variable.of(site)
    if site.name in value.axes or not _masked(scope, site):
        return log_density(density, scope, variable, value, stop=stop)
    each = log_densities(density, scope, variable, value, stop=stop)
    return sum_of_present(each, scope.mask(site.name))


def draw(scope: Scope, site: Site, *, stop: bool = False) -> Lowered:
    """A draw of a site as a function of its noise, bound to the site's name; chains in a circle are drawn together."""
    together = scope.value(site.name)
    if together is not None:
        return together
    return draw_site(scope, site, stop=stop)


def _masked(scope: Scope, site: Site) -> bool:
    column = scope.program.columns.get(site.name)
    drawn = scope.program.guide_by_name.get(site.name)
    drops_out = bool(column and column.missing) and drawn is None and not imputed(scope, site.name)
    return site.section == "model" and site.role is Role.OBSERVED and drops_out
