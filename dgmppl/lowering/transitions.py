"""Markov chains of unnormalized densities: which runtime sampler, on which local functions, with which noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dgmppl.ir.analyses import degree
from dgmppl.ir.densities import Ladder, Unnormalized
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.kernel import MarkovSampler, Value, Var
from dgmppl.ir.option_calls import bind, spell
from dgmppl.ir.options import SAMPLERS
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from, log_density
from dgmppl.lowering.densities.unnormalized import (
    base_of,
    density_of_energy,
    draw_units,
    hidden_units,
    joint_function,
    marginal,
    state_noise,
    states_of,
)
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import Lowered, number, op, total
from dgmppl.lowering.points import density_function, draw_base, members, point_function, point_shape, split
from dgmppl.lowering.scope import Scope, unsupported

# Transitions from the chain's start to a sample, where the site's own sampler does not say.
SAMPLE_STEPS = 200
# Transitions at each noise, and the step size at the smallest over its square (Song and Ermon 2019, section 5: 2e-5 / 2
# at a noise of 0.01), of chains that walk down noises.
NOISE_STEPS = 100
NOISE_STEP = 0.1
# Leapfrog steps of one transition of annealed importance sampling on real support.
ANNEALED_LEAPFROG = 10

Settings = Mapping[str, Any]


def run_chain(scope: Scope, site: Site, call: Call, start: Lowered, hidden: tuple[str, ...]) -> Lowered:
    """The end of a chain from `start`, without gradient, in real numbers.

    Raises:
        UnsupportedError: the sampler does not fit the density.
    """
    return _CHAINS[call.function](scope, site, call, as_real(start), hidden)


def _settings(call: Call) -> Settings:
    """Every setting of the sampler itself: what the call gives, and the table's defaults."""
    own = {argument.name for argument in SAMPLERS[call.function].arguments}
    return bind(replace(call, keywords=tuple(pair for pair in call.keywords if pair[0] in own)), SAMPLERS, "sampler")


def _noise(scope: Scope, site: Site, what: str, kind: str, shape: tuple[int, ...]) -> Value:
    """Random numbers of every transition, whose axis is the first of the shape."""
    return scope.random(f"{site.name}.{what}", kind, shape, site.typed.plate).value


def _end(
    scope: Scope,
    site: Site,
    sampler: str,
    functions: tuple[str, ...],
    start: Lowered,
    noise: tuple[Value, ...],
    settings: Settings,
) -> Lowered:
    shape = point_shape(scope.program, site)
    given = tuple((name, value) for name, value in settings.items() if value is not None)
    node = MarkovSampler(sampler, functions, start.value, len(shape), noise, given, span=site.span)
    return scope.assign(f"{site.name}_sampled", Lowered(node, shape, True, Dtype.REAL, start.axes))


# ---- samplers -------------------------------------------------------------------------------------------------------


def _by_slope(scope: Scope, site: Site, call: Call, start: Lowered, hidden: tuple[str, ...]) -> Lowered:
    """Langevin dynamics, MALA and HMC: the gradient of log p~ on real support."""
    if site.typed.support.discrete:
        raise unsupported(f"{call.function}() on the support {site.typed.support} of {site.name!r}", site.span)
    settings = dict(_settings(call))
    steps = settings.pop("steps")
    function = density_function(scope, site, hidden)
    noise = [_noise(scope, site, "chain", "normal", (steps, *point_shape(scope.program, site)))]
    if call.function != "langevin":
        noise.append(_noise(scope, site, "accept", "uniform", (steps,)))
    return _end(scope, site, f"samplers.{call.function}", (function,), start, tuple(noise), settings)


def _gibbs(scope: Scope, site: Site, call: Call, start: Lowered, hidden: tuple[str, ...]) -> Lowered:
    """Block Gibbs between visible and hidden units; without hidden ones, one element after the other."""
    steps = _settings(call)["steps"]
    if not hidden:
        states = states_of(scope, site.name)
        noise = _noise(scope, site, "chain", "gumbel", (steps, *point_shape(scope.program, site), states))
        return _end(
            scope, site, "samplers.gibbs", (density_function(scope, site),), start, (noise,), {"states": states}
        )
    other = blocks(scope.program, site, hidden)
    if other is None:
        construct = f"block Gibbs sampling of {site.name!r}, in which the energy is not affine,"
        raise unsupported(construct, site.span, "sampler=gibbs_with_gradients()")
    block_noise, settings = _block_noise(scope, site, other, steps)
    return _end(
        scope, site, "samplers.block_gibbs", (joint_function(scope, site, other),), start, block_noise, settings
    )


def _informed(scope: Scope, site: Site, call: Call, start: Lowered, hidden: tuple[str, ...]) -> Lowered:
    """Gibbs-with-gradients on finite support."""
    states, function = states_of(scope, site.name), density_function(scope, site, hidden)
    noise = _informed_noise(scope, site, states, _settings(call)["steps"])
    return _end(scope, site, f"samplers.{call.function}", (function,), start, noise, {"states": states})


_CHAINS: dict[str, Callable[[Scope, Site, Call, Lowered, tuple[str, ...]], Lowered]] = {
    "langevin": _by_slope,
    "mala": _by_slope,
    "hmc": _by_slope,
    "gibbs": _gibbs,
    "gibbs_with_gradients": _informed,
}


def blocks(program: Program, site: Site, hidden: tuple[str, ...]) -> Site | None:
    """The hidden site of a pair of blocks that are each independent given the other; None where they are not."""
    density = density_of_energy(site)
    pair = len(hidden) == 1 and len(density.names) == 2 and site.typed.support.states is not None
    if not pair or degree(program, density.energy, frozenset({site.name})) > 1:
        return None
    return program.by_name[hidden[0]]


def _block_noise(scope: Scope, site: Site, hidden: Site, steps: int) -> tuple[tuple[Value, ...], Settings]:
    states = states_of(scope, site.name), states_of(scope, hidden.name)
    noise = []
    for what, count, one in zip(("chain", "hidden"), states, (site, hidden), strict=True):
        kind, shape = state_noise(count, one.typed.shape)
        noise.append(_noise(scope, site, what, kind, (steps, *shape)))
    return tuple(noise), {"hidden_rank": len(hidden.typed.shape), "states": states}


def _informed_noise(scope: Scope, site: Site, states: int, steps: int) -> tuple[Value, Value]:
    changes = math.prod(point_shape(scope.program, site)) * states
    proposals = _noise(scope, site, "chain", "gumbel", (steps, changes))
    return proposals, _noise(scope, site, "accept", "uniform", (steps,))


# ---- samples --------------------------------------------------------------------------------------------------------


@draw_from.register
def _draw(density: Unnormalized, scope: Scope, variable: Variable) -> Lowered:
    """The end of a chain from the base for the visible names, approximate; hidden units are drawn given them."""
    del density
    site = scope.program.by_name[variable.name]
    hidden = hidden_units(scope.program, site)
    together = members(scope.program, site)
    if not all(scope.bound(one.name) for one in together):
        first = together[0]
        start = scope.assign(f"{first.name}_start", draw_base(scope, first))
        if (ladder := _walked(first)) is not None:
            end = _descend(scope, first, ladder, start, hidden)
        else:
            end = run_chain(scope, first, sample_call(scope.program, first, hidden), start, hidden)
        for one, part in zip(together, split(scope.program, first, end).values(), strict=True):
            scope.bind(one.name, scope.assign(one.name, _as_drawn(part, one.typed.dtype)))
    return draw_units(scope, site, variable.name, hidden) if variable.name in hidden else lookup(scope, variable.name)


def _as_drawn(value: Lowered, dtype: Dtype) -> Lowered:
    """A site's part of a chain's end in its own type."""
    return value if dtype is Dtype.REAL else value.with_value(op("cast", value.value, dtype="integer"), dtype=dtype)


def sample_call(program: Program, site: Site, hidden: tuple[str, ...]) -> Call:
    """The site's own sampler, else one that fits its support; `SAMPLE_STEPS` transitions unless it says."""
    density = density_of_energy(site)
    if isinstance(density.sampler, Call):
        call = density.sampler
    elif not site.typed.support.discrete:
        call = Call("langevin")
    else:
        call = Call("gibbs" if hidden and blocks(program, site, hidden) is not None else "gibbs_with_gradients")
    if call.arguments or call.keyword("steps") is not None:
        return call
    return replace(call, keywords=(("steps", Literal(SAMPLE_STEPS)), *call.keywords))


def chains_of(program: Program) -> str:
    """What is said of samples that are the ends of chains: each sampler with its settings; empty without chains."""
    said = []
    for site in program.sites:
        hidden = hidden_units(program, site) if isinstance(site.density, Unnormalized) else ()
        if isinstance(site.density, Unnormalized) and site.name not in hidden:
            said.append(f"{site.name} is the end of {_spelled(program, site, hidden)}, approximate")
    return "".join(f" {text}." for text in said)


def _spelled(program: Program, site: Site, hidden: tuple[str, ...]) -> str:
    """A site's sampler with its settings, and the noises that it walks down."""
    call, ladder = sample_call(program, site, hidden), _walked(site)
    if ladder is not None:
        noises = f"{ladder.levels} noises from {ladder.largest:g} to {ladder.smallest:g}"
        return f"{spell(call, _at_each(site, ladder))} at each of {noises}"
    return spell(call, {name: value for name, value in _settings(call).items() if value is not None})


# ---- noise by noise -------------------------------------------------------------------------------------------------


def _walked(site: Site) -> Ladder | None:
    """The noises that a chain walks down: Langevin dynamics does where the energy was fitted under several."""
    density = density_of_energy(site)
    if isinstance(density.sampler, Call):
        settings = _settings(density.sampler)
        plain = density.sampler.function == "langevin" and (settings["noise"], settings["clip"]) == (None, None)
        return density.ladder if plain else None
    return density.ladder


def _at_each(site: Site, ladder: Ladder) -> Settings:
    """Transitions at each noise, and the step size at the smallest: what the site's own sampler says of them."""
    settings = {"steps": NOISE_STEPS, "step_size": float(f"{NOISE_STEP * ladder.smallest**2:.6g}")}
    own = density_of_energy(site).sampler
    if isinstance(own, Call):
        said = [*list(settings)[: len(own.arguments)], *(name for name, _ in own.keywords)]
        settings |= {name: value for name, value in _settings(own).items() if name in said}
    return settings


def _descend(scope: Scope, site: Site, ladder: Ladder, start: Lowered, hidden: tuple[str, ...]) -> Lowered:
    """The end of a chain that goes through the noises, from the largest on (Song and Ermon 2019, algorithm 1)."""
    settings, level = _at_each(site, ladder), scope.fresh(f"{ladder.level}_value")

    def at_level() -> Lowered:
        scope.bind(ladder.level, Lowered(Var(level), (), True, Dtype.REAL))
        return marginal(scope, site, hidden)

    function = point_function(scope, "log_p", site, at_level, level)
    shape = (ladder.levels * settings["steps"], *point_shape(scope.program, site))
    options = {
        "step_size": settings["step_size"], "largest": ladder.largest, "smallest": ladder.smallest,
        "levels": ladder.levels,
    }  # fmt: skip
    noise = _noise(scope, site, "chain", "normal", shape)
    return _end(scope, site, "samplers.annealed_langevin", (function,), start, (noise,), options)


# ---- annealing ------------------------------------------------------------------------------------------------------


def anneal(
    scope: Scope, site: Site, temperatures: int, start: Lowered | None, *, reverse: bool
) -> tuple[Lowered, Lowered]:
    """The ends of annealed chains and their log-weights (Neal 2001); `start` None: from the base."""
    hidden = hidden_units(scope.program, site)
    density = density_of_energy(site)
    first = scope.assign(f"{site.name}_start", draw_base(scope, site) if start is None else as_real(start))
    other = blocks(scope.program, site, hidden) if density.base is None else None
    if other is not None:
        name = "annealing.block_gibbs"
        functions: tuple[str, ...] = (joint_function(scope, site, other),)
        noise, settings = _block_noise(scope, site, other, temperatures)
        kind, shape = state_noise(states_of(scope, other.name), other.typed.shape)
        noise = (*noise, _noise(scope, site, "first", kind, shape))
    else:
        functions = (_base_function(scope, site), density_function(scope, site, hidden))
        name, noise, settings = _tempered(scope, site, temperatures)
    both = _end(scope, site, name, functions, first, noise, {**settings, "reverse": reverse})
    weights = Lowered(op("item", both.value, number=1), (), True, Dtype.REAL, both.axes)
    return both.with_value(op("item", both.value, number=0)), weights


def _tempered(scope: Scope, site: Site, temperatures: int) -> tuple[str, tuple[Value, ...], Settings]:
    """The transitions at each temperature between a base and a density, by the support."""
    if site.typed.support.discrete:
        states = states_of(scope, site.name)
        noise = _informed_noise(scope, site, states, temperatures)
        return "annealing.gibbs_with_gradients", noise, {"states": states}
    momenta = _noise(scope, site, "chain", "normal", (temperatures, *point_shape(scope.program, site)))
    uniforms = [_noise(scope, site, what, "uniform", (temperatures,)) for what in ("accept", "size")]
    return "annealing.hmc", (momenta, *uniforms), {"leapfrog": ANNEALED_LEAPFROG}


def _base_function(scope: Scope, site: Site) -> str:
    """The normalized log-density of the chains' start as a local function."""
    density, together = density_of_energy(site), members(scope.program, site)

    def part(one: Site) -> Lowered:
        value, base = lookup(scope, one.name), base_of(density, one)
        if base is not None:
            return log_density(base, scope, Variable.of(one), value)
        uniform = -math.prod(one.typed.shape) * math.log(states_of(scope, one.name))
        shape = op("origin", value.value, rank=value.rank, shape=())
        return Lowered(op("add", number(uniform).value, shape), (), True, Dtype.REAL)

    return point_function(scope, "log_base", site, lambda: total([part(one) for one in together]))
