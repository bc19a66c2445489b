"""The library-facing programs: `model` and `guide` as a Pyro or NumPyro user would write them."""

from __future__ import annotations

from dgmppl.ir.densities import Deterministic, FlatPrior
from dgmppl.ir.kernel import FLAT, Delta, DensityValue, Function, Group, Plate, Sample, Statement, Var
from dgmppl.ir.program import Program, Role, Site
from dgmppl.lowering.densities import density_of
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.layout import Lowered
from dgmppl.lowering.priors import level_scope
from dgmppl.lowering.scope import Scope, unsupported


def model_function(program: Program, groups: dict[str, Group]) -> Function:
    """`model`: parameters, then the data plate with one datum's story."""
    scope = Scope(program, groups, library=True)
    for site in program.sites:
        if site.section == "parameters":
            _parameter(scope, site)
    _plate(scope, [site for site in program.sites if site.section == "model"])
    return scope.function("model", "program", "the generative story, as a program of the library.")


def guide_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`guide`: the variational posterior over the local latents; None where there is none."""
    if not program.guide:
        return None
    scope = Scope(program, groups, library=True)
    _plate(scope, [site for site in program.guide if site.role is not Role.LEARNED])
    return scope.function("guide", "program", "the variational posterior, as a program of the library.")


def _parameter(scope: Scope, site: Site) -> None:
    """A sample statement for a parameter with a prior, inside its level's plate where it has one."""
    if site.role is not Role.PARAMETER:
        return
    outer, scope.statements = scope.statements, []
    with level_scope(scope, site):
        prior = site.density
        density = _flat(prior, site) if isinstance(prior, FlatPrior) else density_of(scope, site)[0]
    variable = scope.fresh(site.name)
    body: tuple[Statement, ...] = (*scope.statements, Sample(site.name, density, variable=variable, span=site.span))
    scope.statements = outer
    kind = site.typed
    if site.level is None:
        scope.statements.extend(body)
    else:
        scope.statements.append(Plate(site.level, len(scope.program.levels[site.level]), body))
    shape = (len(scope.program.levels[site.level]), *kind.shape) if site.level else kind.shape
    scope.bind(site.name, Lowered(Var(variable), shape, False, kind.dtype))


def _flat(prior: FlatPrior, site: Site) -> DensityValue:
    """The improper uniform on a parameter's support."""
    if prior.low is not None or prior.high is not None:
        raise unsupported(f"the bounds of {site.name!r}, which depend on other parameters,", site.span)
    return DensityValue(FLAT, (), len(site.typed.shape), site.typed.shape, span=site.span)


def _plate(scope: Scope, sites: list[Site]) -> None:
    """The data plate with its sample statements."""
    outer, scope.statements = scope.statements, []
    for site in sites:
        _statement(scope, site)
    body, scope.statements = tuple(scope.statements), outer
    scope.statements.append(Plate("data", scope.program.rows, body))


def _statement(scope: Scope, site: Site) -> None:
    if isinstance(site.density, Deterministic):
        value = scope.assign(site.name, lower_expression(scope, site.density.expression))
        scope.statements.append(Delta(site.name, value.value))
        scope.bind(site.name, value)
        return
    density, like = density_of(scope, site)
    observed = site.role is Role.OBSERVED and site.section == "model"
    column = scope.program.columns.get(site.name)
    mask = column is not None and column.missing
    data = lookup(scope, site.name).value if observed else None
    masked = scope.mask(site.name).value if mask and observed and site.name not in scope.program.guide_by_name else None
    held = _held(scope, site)
    variable = None if observed else held or scope.fresh(site.name)
    scope.statements.append(
        Sample(
            site.name,
            density,
            data.name if isinstance(data, Var) else None,
            masked.name if isinstance(masked, Var) else None,
            unless=held,
            variable=variable,
            span=site.span,
        )
    )
    if variable is not None:
        scope.bind(site.name, Lowered(Var(variable), site.typed.shape, True, site.typed.dtype, like.axes))


def _held(scope: Scope, site: Site) -> str | None:
    """The column that stands in for a guide site's draw where the data hold it."""
    if site.section != "guide" or site.name not in scope.program.columns:
        return None
    value = scope.column(site.name, scope.program.by_name[site.name].typed).value
    return value.name if isinstance(value, Var) else None
