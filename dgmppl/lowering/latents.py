"""Local latents that an engine samples beside the parameters: a copy for each row, or a number for each missing entry.

They are parameters of the log joint like those with a prior: arrays of their own, unconstrained by the bijection of
their support. The missing entries of x are one array `x.missing` in the order of the gaps, so that entries which the
data hold add no dimension; the completed x then has its density as a whole, whatever couples its elements.
"""

from __future__ import annotations

import math

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Pushforward
from dgmppl.ir.ends import moves
from dgmppl.ir.kernel import Group, Impute, Var
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.types import Shape
from dgmppl.lowering.groups import within
from dgmppl.lowering.layout import Lowered, op
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.derivation import Derivation
from dgmppl.objectives.requests import called

# Supports of a vector whose elements have no support of their own, so that none can be missing alone.
_WHOLE = frozenset({"simplex", "ordered", "positive_ordered", "cholesky", "correlation_cholesky", "positive_definite"})

# The plate of a group with one copy for each row.
ROWS = "data"


def sampled(program: Program, derivation: Derivation) -> tuple[Site, ...]:
    """The sites that are sampled beside the parameters, in generative order."""
    return tuple(site for site in program.sites if derivation.eliminated.get(site.name) == "joint")


def entries_of(name: str) -> str:
    """What the missing entries of a site are called."""
    return f"{name}.missing"


def latent_groups(program: Program, derivation: Derivation) -> dict[str, Group]:
    """The arrays that an engine moves beside the parameters, by name.

    Raises:
        UnsupportedError: a latent that these arrays cannot hold, named with its line.
    """
    sites = sampled(program, derivation)
    gaps = next((site for site in sites if site.role is Role.OBSERVED), None)
    if gaps is not None and called(derivation.engine) == "smc":
        raise unsupported(f"smc with missing entries of {gaps.name!r}", gaps.span, "nuts()")
    groups = [_group(program, site) for site in sites]
    return {group.name: group for group in groups if group is not None}


def _group(program: Program, site: Site) -> Group | None:
    """A site's array; None where no entry of the rows at hand is missing."""
    missing = site.role is Role.OBSERVED
    name, kind = entries_of(site.name) if missing else site.name, site.typed
    if moves(site):
        fix = f"write it as an expression of a latent with fixed bounds, `{site.name}: low + (high - low) * u`"
        raise unsupported(f"the latent {site.name!r}, whose bounds depend on other sites,", site.span, fix)
    _refuse_read_base(program, site)
    shape = _gaps(program, site) if missing else (_rows(program, site), *kind.shape)
    if not math.prod(shape):
        return None
    spec = ParameterSpec(name, name, shape, within(kind.support), kind.support)
    return Group(name, "prior", (spec,), kind.support, levels=None if missing else ROWS)


def _refuse_read_base(program: Program, site: Site) -> None:
    """The image is what is sampled; its base has no value of its own that another site could read."""
    density = site.density
    while isinstance(density, Pushforward):
        base = program.by_name.get(density.base)
        readers = [] if base is None else [child for child in program.children(base.name) if child.density != density]
        if base is not None and readers:
            what = f"the base {base.name!r} of the sampled {site.name!r}, which {readers[0].name!r} reads too,"
            raise unsupported(what, base.span, f"read {site.name!r} alone")
        density = None if base is None else base.density


def _rows(program: Program, site: Site) -> int:
    if program.rows is None:
        fix = f"fit it to its data, or write their source instead of `{site.name}`'s shape"
        raise unsupported(f"the latent {site.name!r} of each row, before the rows are known,", site.span, fix)
    return program.rows


def _gaps(program: Program, site: Site) -> Shape:
    if site.typed.support.kind in _WHOLE:
        what = f"missing elements of {site.name!r}, whose support is {site.typed.support}: none varies alone,"
        raise unsupported(what, site.span, "drop the rows, or model the elements by themselves")
    return (program.columns[site.name].gaps,)


def bind_latents(scope: Scope, sites: tuple[Site, ...]) -> None:
    """Gives each site its value at the present parameters: the latents, or the data with their gaps filled."""
    for site in sites:
        kind = site.typed
        if site.role is not Role.OBSERVED:
            value = Var(scope.use_group(site.name))
            scope.bind(site.name, Lowered(value, kind.shape, True, kind.dtype))
        elif entries_of(site.name) in scope.groups:
            entries = Var(scope.use_group(entries_of(site.name)))
            filled = op("filled", scope.column(site.name, kind).value, scope.mask(site.name).value, entries)
            whole = Lowered(filled, kind.shape, True, kind.dtype)
            scope.bind(site.name, scope.assign(f"{site.name}_filled", whole))


def imputed(scope: Scope, name: str) -> bool:
    """Whether a site's missing entries are latents, so that nothing of its density drops out."""
    return entries_of(name) in scope.groups


def impute(scope: Scope) -> None:
    """The statements by which a program of the library fills the gaps of its data."""
    for site in scope.program.observed:
        group = scope.groups.get(entries_of(site.name))
        if group is None:
            continue
        column, mask = scope.column(site.name, site.typed).value, scope.mask(site.name).value
        if not isinstance(column, Var) or not isinstance(mask, Var):
            raise InternalError(f"the data of {site.name!r} are no variable")
        (count,) = group.parameters[0].shape
        variable = scope.fresh(group.name)
        scope.statements.append(Impute(site.name, group.name, column.name, mask.name, count, variable, span=site.span))
