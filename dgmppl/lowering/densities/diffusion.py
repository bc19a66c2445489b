"""Diffusions: the variational bound as a log-density, weighted regressions, the probability-flow ODE, samplers.

What depends on the model stands in the emitted text: the noising process, and the denoiser as a local function of a
point and a time, its conditions read from outside. Everything else is a function of the runtimes' `diffusion`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dgmppl.ir.densities import DiffusionChain
from dgmppl.ir.diffusions import errors_name, learned_parts, learns_schedule, null_names, schedule_names
from dgmppl.ir.expressions import Call, Expression, Name
from dgmppl.ir.kernel import Assign, Define, Denoising, Group, NetworkCall, Noising, Return, Value, Var
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import DIFFUSION_SCHEDULES, LOG_PROB, SAMPLERS
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from, log_density
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.layout import Lowered, combine, number, raise_rank
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.algebra import DenoisingTerm

# Evaluations of the denoiser by the reverse chain in continuous time, which has no steps of its own.
STEPS = 250


@dataclass(frozen=True, slots=True)
class _Denoiser:
    """A site's noising process and denoiser as local names, and what the conditions bring.

    Attributes:
        process: the process.
        functions: the denoiser; behind it the one that reads the learned nulls, for guidance.
        context: the conditions, for their batch axes.
    """

    process: Value
    functions: tuple[str, ...]
    context: tuple[Lowered, ...]


# ---- densities ------------------------------------------------------------------------------------------------------


@log_density.register
def _log_density(
    density: DiffusionChain, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    """The bound on log p at one time per datum (Kingma et al. 2021, eq. 11), whatever the declared weighting."""
    del stop
    return _at_a_time("bound", density, scope, variable, value)


def regression(scope: Scope, term: DenoisingTerm) -> Lowered:
    """A diffusion's weighted squared error of the predicted noise, one number per datum (Ho et al. 2020, eq. 14)."""
    site = scope.program.by_name[term.site]
    density = _diffusion(site)
    value = as_real(lookup(scope, site.name))
    settings = (("weighting", term.weighting),)
    return _at_a_time("regression", density, scope, Variable.of(site), value, settings)


def flow_log_density(scope: Scope, site: Site) -> Lowered:
    """log p of the probability-flow ODE's own density at the site's value (Song et al. 2021, section 4.3)."""
    density, value = _diffusion(site), as_real(lookup(scope, site.name))
    options = _options(scope.program.evaluate.get("log_prob"), "ode", LOG_PROB, "way to evaluate log p")[1]
    denoiser = _denoiser(density, scope, Variable.of(site))
    settings = tuple((name, options[name]) for name in ("rtol", "solver"))
    call = Denoising("log_prob", denoiser.process, denoiser.functions, (value.value,), settings, span=site.span)
    return _laid(Lowered(call), value, *denoiser.context)


def _diffusion(site: Site) -> DiffusionChain:
    assert isinstance(site.density, DiffusionChain)
    return site.density


def _at_a_time(
    function: str,
    density: DiffusionChain,
    scope: Scope,
    variable: Variable,
    value: Lowered,
    settings: tuple[tuple[str, object], ...] = (),
) -> Lowered:
    """A function of the value, of one uniform number for a time, and of the noise at it."""
    value = as_real(value)
    denoiser = _denoiser(density, scope, variable)
    time = scope.random(f"{variable.name}.time", "uniform", (), variable.kind.plate)
    noise = scope.random(f"{variable.name}.noise", "normal", variable.kind.shape, variable.kind.plate)
    operands = (value.value, time.value, noise.value)
    call = Denoising(function, denoiser.process, denoiser.functions, operands, settings, span=variable.span)
    return _laid(Lowered(call), value, time, noise, *denoiser.context)


def _laid(value: Lowered, *parts: Lowered) -> Lowered:
    """The value with the batch axes of what it was computed from."""
    axes = frozenset().union(*(part.axes for part in parts))
    return replace(value, batched=any(part.batched for part in parts), axes=axes)


# ---- the denoiser ---------------------------------------------------------------------------------------------------


def learned_groups(program: Program) -> dict[str, Group]:
    """What diffusions learn besides their denoisers."""
    parts = (part for site in (*program.sites, *program.guide) for part in learned_parts(site))
    return {part.name: Group(part.name, "learned", (part,), part.support) for part in parts}


def _denoiser(density: DiffusionChain, scope: Scope, variable: Variable, *, free: bool = False) -> _Denoiser:
    """The process and the denoiser as statements; with `free` the one without condition too."""
    name = scope.fresh(f"{variable.name}_process")
    scope.statements.append(Assign((name,), _process(density, scope, variable)))
    context = tuple(
        scope.assign(f"{variable.name}_given", as_real(lower_expression(scope, part))) for part in density.context
    )
    if density.drop and scope.training:
        context = _dropped(density, scope, variable, context)
    functions = [_function(density, scope, variable, f"denoise_{variable.name}", context)]
    if free:
        functions.append(
            _function(density, scope, variable, f"denoise_{variable.name}_freely", _null(density, scope, variable))
        )
    return _Denoiser(Var(name), tuple(functions), context)


def _process(density: DiffusionChain, scope: Scope, variable: Variable) -> Noising:
    """The noising process; what it learns is read from its groups."""
    schedule, options = _options(density.schedule, "cosine", DIFFUSION_SCHEDULES, "schedule")
    arguments: tuple[float, ...] | tuple[Value, ...] = tuple(options.values())
    if learns_schedule(density):
        arguments = tuple(Var(scope.use_group(name)) for name in schedule_names(variable.name))
    process = Noising(
        schedule, arguments, density.predict, len(variable.kind.shape), density.steps, span=variable.span
    )  # fmt: skip
    if density.variance != "learned":
        return replace(process, variance=density.variance)
    return replace(process, errors=Var(scope.use_group(errors_name(variable.name))))


def _function(
    density: DiffusionChain, scope: Scope, variable: Variable, wish: str, context: tuple[Lowered, ...]
) -> str:
    """The denoiser under given conditions as a local function of a point and a time; its name."""
    function, point, time = scope.fresh(wish), scope.fresh(f"{variable.name}_t"), scope.fresh("t")
    inputs = (Var(point), *(part.value for part in context), Var(time))
    call = NetworkCall(scope.use_group(density.denoiser), inputs, span=variable.span)
    scope.statements.append(Define(function, f"{point}, {time}", (Return((call,)),)))
    return function


def _null(density: DiffusionChain, scope: Scope, variable: Variable) -> tuple[Lowered, ...]:
    """The learned values of no condition."""
    return tuple(
        Lowered(Var(scope.use_group(name)), scope.groups[name].parameters[0].shape)
        for name in null_names(density, variable.name)
    )


def _dropped(
    density: DiffusionChain, scope: Scope, variable: Variable, context: tuple[Lowered, ...]
) -> tuple[Lowered, ...]:
    """The conditions, all of a datum's together replaced by their nulls with the declared probability."""
    uniform = scope.random(f"{variable.name}.drop", "uniform", (), variable.kind.plate)
    drop = scope.assign(f"{variable.name}_dropped", combine("lt", uniform, number(density.drop), dtype=Dtype.BOOLEAN))
    pairs = zip(_null(density, scope, variable), context, strict=True)
    return tuple(
        scope.assign(
            f"{variable.name}_given", combine("call", raise_rank(drop, part.rank), null, part, function="where")
        )
        for null, part in pairs
    )


def _options(expression: Expression | None, default: str, table: Any, what: str) -> tuple[str, dict[str, Any]]:
    """The entry of a table that an expression names, and its options, defaults filled in."""
    call = expression if isinstance(expression, Call) else Call(default)
    if isinstance(expression, Name):
        call = Call(expression.id, span=expression.span)
    return call.function, bind(call, table, what)


# ---- draws ----------------------------------------------------------------------------------------------------------


@draw_from.register
def _draw(density: DiffusionChain, scope: Scope, variable: Variable) -> Lowered:
    """A draw by the sampler that `evaluate: {sampler: ...}` chooses, the reverse chain by default."""
    given = scope.program.evaluate.get("sampler")
    sampler, options = _options(given, "ancestral", SAMPLERS, "sampler")
    if sampler not in _DRAWS:
        raise unsupported(f"the sampler {sampler!r} of a diffusion", None if given is None else given.span, "ddim()")
    guidance = float(options.get("guidance", 1.0))
    denoiser = _denoiser(density, scope, variable, free=guidance != 1)
    plate, shape = variable.kind.plate, variable.kind.shape
    start = scope.random(variable.name, "normal", shape, plate)
    known = _known(scope, variable)
    if known and sampler not in {"ancestral", "ddim"}:
        sampler, options = "ddim", {"steps": options["steps"], "eta": float(sampler == "sde")}
    steps, settings, stochastic = _DRAWS[sampler](density, options)
    operands = [start]
    if stochastic:
        operands.append(scope.random(f"{variable.name}.steps", "normal", (steps, *shape), plate))
    call = Denoising(
        sampler,
        denoiser.process,
        denoiser.functions,
        tuple(part.value for part in operands),
        settings,
        guidance,
        known=tuple(part.value for part in known),
        span=variable.span,
    )
    return replace(_laid(Lowered(call), *operands, *denoiser.context), shape=shape)


def _known(scope: Scope, variable: Variable) -> tuple[Lowered, ...]:
    """Where elements are given, their values, and their noise; nothing where the function completes nothing."""
    if variable.name not in scope.completed:
        return ()
    mask = replace(variable.kind, dtype=Dtype.BOOLEAN)
    where, held = scope.column(f"{variable.name}.given", mask), scope.column(variable.name, variable.kind)
    return where, held, scope.random(f"{variable.name}.held", "normal", variable.kind.shape, variable.kind.plate)


_Settings = tuple[int, tuple[tuple[str, object], ...], bool]


def _length(density: DiffusionChain, options: dict[str, Any]) -> int:
    """How often the denoiser is called; by a chain no more than it has steps."""
    wanted = options["steps"] or density.steps or STEPS
    return int(wanted if density.steps is None else min(wanted, density.steps))


def _ancestral(density: DiffusionChain, options: dict[str, Any]) -> _Settings:
    return _length(density, options), (), True


def _ddim(density: DiffusionChain, options: dict[str, Any]) -> _Settings:
    steps, eta = _length(density, options), float(options["eta"])
    return steps, (("steps", steps), *((("eta", eta),) if eta else ())), eta > 0


def _stepped(density: DiffusionChain, options: dict[str, Any]) -> _Settings:
    steps = _length(density, options)
    return steps, (("steps", steps),), False


def _sde(density: DiffusionChain, options: dict[str, Any]) -> _Settings:
    return _length(density, options), (("solver", options["solver"]),), True


def _ode(density: DiffusionChain, options: dict[str, Any]) -> _Settings:
    del density
    return options["steps"], (("steps", options["steps"]), ("solver", options["solver"])), False


_DRAWS: dict[str, Callable[[DiffusionChain, dict[str, Any]], _Settings]] = {
    "ancestral": _ancestral,
    "ddim": _ddim,
    "dpm_solver_pp": _stepped,
    "euler": _stepped,
    "heun": _stepped,
    "sde": _sde,
    "ode": _ode,
}
