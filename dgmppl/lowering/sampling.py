"""Emitted functions that draw: from the model, from the prior of its parameters, from the guide."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.densities import DiffusionChain, Elementary, Factorized, FlatPrior, Pushforward
from dgmppl.ir.kernel import DensityValue, Draw, Function, Group, Number, Return, Value
from dgmppl.ir.program import Program, Role, Site
from dgmppl.lowering.densities import density_of, draw, noise_kind, noise_shape
from dgmppl.lowering.densities.forms import Variable, draw_from
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import PARTICLES, Lowered, as_array, op
from dgmppl.lowering.priors import level_scope
from dgmppl.lowering.scope import Scope
from dgmppl.lowering.transitions import chains_of
from dgmppl.objectives.capabilities import Ability, abilities


def sample_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`sample`: one ancestral draw per row, every site by name; None where a bijection has no such direction."""
    images = [site for site in program.sites if site.section == "model" and isinstance(site.density, Pushforward)]
    if any(Ability.SAMPLE not in abilities(program, site) for site in images):
        return None
    scope = Scope(program, groups, scored=False)
    names = _story(scope)
    scope.statements.append(Return(_values(scope, names), names))
    doc = f"one ancestral draw per row: every site of the model by name, [B, *event].{chains_of(program)}"
    return scope.function("sample", "sample", doc)


def complete_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`complete`: draws given the elements that the batch holds, where a site is factorized or a diffusion."""
    names = frozenset(site.name for site in program.observed if isinstance(site.density, DiffusionChain | Factorized))
    if not names:
        return None
    scope = Scope(program, groups, scored=False, completed=names)
    sites = _story(scope)
    scope.statements.append(Return(_values(scope, sites), sites))
    doc = "one ancestral draw per row in which the elements marked in `NAME.given` are those of the batch."
    return scope.function("complete", "sample", doc)


def prior_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`prior`: the parameters from their priors, then the model; None where some parameter has no proper prior."""
    parameters = program.with_role(Role.PARAMETER)
    if not parameters or program.networks or program.bijectors or program.with_role(Role.LEARNED):
        return None
    if any(isinstance(site.density, FlatPrior) for site in parameters):
        return None
    scope = Scope(program, groups, library=True, scored=False)
    for site in parameters:
        scope.bind(site.name, _parameter(scope, site))
    names = (*(site.name for site in parameters), *_story(scope))
    scope.statements.append(Return(_values(scope, names), names))
    doc = "the parameters from their priors, then one draw per row: every site by name."
    return scope.function("prior", "sample", doc)


def encode_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`encode`: draws of the guide, [K, B, *event] by site; None without a guide."""
    if not program.guide:
        return None
    scope = Scope(program, groups, particles=True, scored=False)
    sites = [site for site in program.guide if site.role not in (Role.LEARNED, Role.DETERMINISTIC)]
    drawn = [(site.name, _per_particle(draw(scope, site))) for site in sites]
    scope.statements.append(Return(tuple(value for _, value in drawn), tuple(name for name, _ in drawn)))
    return scope.function("encode", "density", "draws of the latents from the guide: [K, B, *event].", particles=0)


def _per_particle(value: Lowered) -> Value:
    """A draw with its axis of particles, of size one where nothing random enters it."""
    if PARTICLES in value.axes:
        return value.value
    return op("expand", value.value, count=1, rank=value.rank + 1)


def _story(scope: Scope) -> tuple[str, ...]:
    """Draws the model's sites in generative order; the names of all of them, deterministic ones included."""
    sites = [site for site in scope.program.sites if site.section == "model"]
    for site in sites:
        if site.role in (Role.OBSERVED, Role.LATENT):
            draw(scope, site)
    return tuple(site.name for site in sites if scope.bound(site.name) or site.role is Role.DETERMINISTIC)


def _values(scope: Scope, names: tuple[str, ...]) -> tuple[Value, ...]:
    """The sites' values, numbers as arrays."""
    return tuple(as_array(lookup(scope, name)).value for name in names)


def _parameter(scope: Scope, site: Site) -> Lowered:
    """One draw of a parameter; of all copies at once for a level's."""
    copies = (len(scope.program.levels[site.level]),) if site.level else ()
    if not isinstance(site.density, Elementary):
        with level_scope(scope, site):
            value = draw_from(site.law, scope, Variable.of(site))
        return scope.assign(site.name, Lowered(value.value, (*copies, *site.typed.shape), False, site.typed.dtype))
    with level_scope(scope, site):
        density, _ = density_of(scope, site)
    kind = noise_kind(density.family)
    if copies and kind == "library":
        density = _spread(density, copies)
    noise = scope.random(site.name, kind, (*copies, *noise_shape(site.name, site.typed, kind)), None)
    shape = (*copies, *site.typed.shape)
    return scope.assign(site.name, Lowered(Draw(density, noise.value, span=site.span), shape, False, site.typed.dtype))


def _spread(density: DensityValue, copies: tuple[int, ...]) -> DensityValue:
    """The density with its first parameter broadcast over the copies, so that each is drawn by itself."""
    (name, value), *others = density.parameters
    shape = (*copies, *density.shape)
    if isinstance(value, Number):
        wide = op("fill", value=float(value.value), shape=shape)
    else:
        wide = op("broadcast", value, shape=shape)
    return replace(density, parameters=((name, wide), *others))
