"""The library-facing programs: `model` and `guide` as a Pyro or NumPyro user would write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dgmppl.ir.analyses import deterministic, sources
from dgmppl.ir.densities import (
    Deterministic,
    DiffusionChain,
    Elementary,
    FlatPrior,
    GaussianProcess,
    Implicit,
    MarkovChain,
    Pushforward,
    Unnormalized,
)
from dgmppl.ir.kernel import (
    Define,
    Delta,
    DensityValue,
    Function,
    FunctionDensity,
    Group,
    Plate,
    Return,
    Sample,
    Statement,
    Var,
)
from dgmppl.ir.program import Program, Role, Site
from dgmppl.lowering.densities import density_of, draw, log_prob
from dgmppl.lowering.densities.flat import flat_value
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.latents import impute, imputed
from dgmppl.lowering.layout import Lowered
from dgmppl.lowering.moving import moving_bounds
from dgmppl.lowering.priors import level_scope
from dgmppl.lowering.scope import Frame, Scope
from dgmppl.lowering.terms import Mode, lower_term
from dgmppl.objectives.algebra import LogDensity, LogIntegral, LogSum, walk
from dgmppl.objectives.derivation import Derivation


def model_function(program: Program, groups: dict[str, Group], derivation: Derivation) -> Function | None:
    """`model`: parameters, then the data plate with one datum's story; None where no library states the model.

    An energy is a density up to log Z there; a joint energy is no product of sample statements, and has no program,
    nor has a diffusion, whose bound takes noise. A
    latent chain that a recursion sums or integrates is not drawn: the series that reads it has the marginal density.
    """
    if any(isinstance(site.density, DiffusionChain) for site in program.sites):
        return None
    scope = Scope(program, groups, library=True)
    for site in program.sites:
        if site.section == "parameters":
            _parameter(scope, site)
    marginal = _marginals(program, derivation)
    if marginal is None or any(isinstance(site.density, Unnormalized) and site.joint for site in program.sites):
        return None
    impute(scope)
    hidden = frozenset(name for term in marginal.values() for name in _removed(program, term))
    sites = [
        site
        for site in program.sites
        if site.section == "model" and not hidden & (sources(program, frozenset({site.name})) | {site.name})
    ]
    _plate(scope, [site for site in sites if not _substituted(program.sites, site)], marginal)
    return scope.function("model", "program", "the generative story, as a program of the library.")


def guide_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`guide`: the variational posterior over the local latents; None where there is none."""
    if not program.guide:
        return None
    scope = Scope(program, groups, library=True)
    sites = [site for site in program.guide if site.role is not Role.LEARNED]
    _plate(scope, [site for site in sites if not _substituted(program.guide, site)], {})
    return scope.function("guide", "program", "the variational posterior, as a program of the library.")


def _substituted(sites: tuple[Site, ...], site: Site) -> bool:
    """Whether a site is the base of another: base and image are one random variable, and the image stands for it."""
    return any(isinstance(other.density, Pushforward) and other.density.base == site.name for other in sites)


def _marginals(program: Program, derivation: Derivation) -> dict[str, LogSum | LogIntegral] | None:
    """The recursions over latent chains by the one series that reads each; None where several read the same chain."""
    found: dict[str, LogSum | LogIntegral] = {}
    likelihood = derivation.objective.likelihood
    inside: set[int] = set()
    for node in () if likelihood is None else walk(likelihood):
        if id(node) in inside or not isinstance(node, LogSum | LogIntegral):
            continue
        if not any(isinstance(program.by_name[name].density, MarkovChain) for name in node.names):
            continue
        inside |= {id(part) for part in walk(node)}
        read = {part.site for part in walk(node) if isinstance(part, LogDensity)}
        readers = read - set(_removed(program, node))
        if len(readers) != 1:
            return None
        found[readers.pop()] = node
    return found


def _removed(program: Program, term: LogSum | LogIntegral) -> tuple[str, ...]:
    """What a recursion, and whatever is summed or integrated inside it, removes: in generative order."""
    names = {name for node in walk(term) if isinstance(node, LogSum | LogIntegral) for name in node.names}
    return tuple(site.name for site in program.sites if site.name in names)


def _parameter(scope: Scope, site: Site) -> None:
    """A sample statement for a parameter with a prior, inside its level's plate where it has one."""
    if site.role is not Role.PARAMETER:
        return
    outer, scope.statements = scope.statements, []
    with level_scope(scope, site):
        prior = site.density
        density = flat_value(scope, site) if isinstance(prior, FlatPrior) else _sampled(scope, site, None)[0]
    variable = scope.fresh(site.name)
    body: tuple[Statement, ...] = (*scope.statements, Sample(site.name, density, variable=variable, span=site.span))
    scope.statements = outer
    kind = site.typed
    if site.level is None:
        scope.statements.extend(body)
    else:
        _in_plate(scope, site.level, body)
    shape = (len(scope.program.levels[site.level]), *kind.shape) if site.level else kind.shape
    scope.bind(site.name, Lowered(Var(variable), shape, False, kind.dtype))


def _in_plate(scope: Scope, level: str, body: tuple[Statement, ...]) -> None:
    """Statements in a level's plate; in the one just before where it is the same: Pyro wants each name once."""
    last = scope.statements[-1] if scope.statements else None
    if isinstance(last, Plate) and last.name == level:
        scope.statements[-1] = replace(last, body=(*last.body, *body))
    else:
        scope.statements.append(Plate(level, len(scope.program.levels[level]), body))


def _plate(scope: Scope, sites: list[Site], marginal: Mapping[str, LogSum | LogIntegral]) -> None:
    """The data plate with its sample statements."""
    outer, scope.statements = scope.statements, []
    for site in _stated(scope.program, sites):
        _statement(scope, site, marginal.get(site.name))
    body, scope.statements = tuple(scope.statements), outer
    scope.statements.append(Plate("data", scope.program.rows, body))


def _stated(program: Program, sites: list[Site]) -> list[Site]:
    """The sites as they are stated: a computed one after the series that it reads, whose draws compute it too."""
    waiting, stated, ahead = list(sites), list[Site](), {site.name for site in sites if not deterministic(site)}
    while waiting:
        site = next((one for one in waiting if not _reads_of(program, one) & ahead), waiting[0])
        waiting.remove(site)
        stated.append(site)
        ahead.discard(site.name)
    return stated


def _reads_of(program: Program, site: Site) -> frozenset[str]:
    """What a computed site reads, other computed ones looked through; nothing for a drawn one."""
    return sources(program, frozenset(site.parents)) if deterministic(site) else frozenset()


def _statement(scope: Scope, site: Site, marginal: LogSum | LogIntegral | None) -> None:
    if site.role is Role.DETERMINISTIC or isinstance(site.density, Deterministic):
        value = lookup(scope, site.name)
        scope.statements.append(Delta(site.name, value.value))
        return
    if isinstance(site.density, Implicit):
        scope.statements.append(Delta(site.name, draw(scope, site).value))
        return
    density, axes = _sampled(scope, site, marginal)
    observed = site.role is Role.OBSERVED and site.section == "model"
    column = scope.program.columns.get(site.name)
    mask = column is not None and column.missing and not imputed(scope, site.name)
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
        scope.bind(site.name, Lowered(Var(variable), site.typed.shape, True, site.typed.dtype, axes))


def _sampled(
    scope: Scope, site: Site, marginal: LogSum | LogIntegral | None
) -> tuple[DensityValue | FunctionDensity, frozenset[str]]:
    """What a sample statement draws from, and the enumerated latents that a draw varies over."""
    if isinstance(site.density, Elementary | GaussianProcess):
        density, like = density_of(scope, site)
        return density, like.axes
    return function_density(scope, site, marginal), frozenset()


def function_density(scope: Scope, site: Site, marginal: LogSum | LogIntegral | None) -> FunctionDensity:
    """A site's density as two local functions: log p of a value, and a draw."""
    kind, outer = site.typed, scope.frame
    argument = scope.fresh(f"{site.name}_value")
    score = Frame(values={**outer.values, site.name: Lowered(Var(argument), kind.shape, True, kind.dtype)})
    with scope.within(score):
        value = log_prob(scope, site) if marginal is None else lower_term(scope, marginal, Mode())
        score.statements.append(Return((value.value,)))
    noise, scope.noise = scope.noise, []
    drawing, scored, scope.scored = Frame(values=dict(outer.values)), scope.scored, False
    with scope.within(drawing):
        for name in () if marginal is None else _removed(scope.program, marginal):
            draw(scope, scope.program.by_name[name])
        drawing.statements.append(Return((draw(scope, site).value,)))
    entries, scope.noise, scope.scored = scope.noise, noise, scored
    names = scope.fresh(f"log_p_{site.name}"), scope.fresh(f"draw_{site.name}")
    scope.statements.append(Define(names[0], argument, tuple(score.statements)))
    scope.statements.append(Define(names[1], "noise", tuple(drawing.statements)))
    shapes = tuple((entry.name, entry.kind, entry.shape) for entry in entries)
    smooth = not kind.support.discrete and all(entry.kind in {"normal", "uniform"} for entry in entries)
    moving = moving_bounds(scope, site)
    return FunctionDensity(*names, shapes, kind.shape, kind.support, smooth, moving, span=site.span)


def _held(scope: Scope, site: Site) -> str | None:
    """The column that stands in for a guide site's draw where the data hold it."""
    if site.section != "guide" or site.name not in scope.program.columns:
        return None
    value = scope.column(site.name, scope.program.by_name[site.name].typed).value
    return value.name if isinstance(value, Var) else None
