"""What a diffusion learns besides its denoiser: values of no condition, its schedule, its reverse variances."""

from __future__ import annotations

import numpy as np

from dgmppl.ir import schedules
from dgmppl.ir.densities import DiffusionChain
from dgmppl.ir.expressions import Call
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import DIFFUSION_SCHEDULES
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.program import Site
from dgmppl.ir.schedules import LAST, SHARES, SPAN, Schedule
from dgmppl.ir.types import POSITIVE, REAL, UNIT, Shape, Support


def learned_parts(site: Site) -> tuple[ParameterSpec, ...]:
    """The parameters of a diffusion, each a group of its own; none of another density."""
    density = site.density
    if not isinstance(density, DiffusionChain):
        return ()
    parts: list[ParameterSpec] = []
    for name, condition in zip(null_names(density, site.name), density.context, strict=False):
        assert condition.type is not None
        parts.append(_part(name, condition.type.shape, Initializer("normal", 1.0), REAL))
    if learns_schedule(density):
        starts = ((), LAST, REAL), ((), SPAN, POSITIVE), ((SHARES,), 1 / SHARES, Support("simplex", SHARES))
        for name, (shape, start, support) in zip(schedule_names(site.name), starts, strict=True):
            parts.append(_part(name, shape, Initializer("constant", start), support))
    if density.variance == "learned" and density.steps is not None:
        parts.append(_part(errors_name(site.name), (density.steps,), Initializer("constant", 0.5), UNIT))
    return tuple(parts)


def _part(name: str, shape: Shape, start: Initializer, support: Support) -> ParameterSpec:
    return ParameterSpec(name, name, shape, start, support)


def learns_schedule(density: DiffusionChain) -> bool:
    """Whether the noise at each time is learned."""
    return isinstance(density.schedule, Call) and density.schedule.function == "learned"


def fixed_schedule(density: DiffusionChain) -> Schedule | None:
    """The noise at each time; None where it is learned."""
    call = density.schedule if isinstance(density.schedule, Call) else None
    if call is None or learns_schedule(density):
        return None
    found: Schedule = getattr(schedules, call.function)(**bind(call, DIFFUSION_SCHEDULES, "schedule"))
    return found


# Chains of more steps cost less than can be told: the cost falls with their number.
_MOST = 100_000


def variance_cost(density: DiffusionChain) -> float:
    """What fixed reverse variances cost a chain's bound on unit normal data, beside the best ones: nats per element.

    The best denoiser's squared error of the noise is then signal / (signal + noise), an element's share of it the same
    everywhere, and with the best variances the bound falls short of log p by the prior's divergence alone.
    """
    schedule = fixed_schedule(density)
    if schedule is None or density.steps is None or density.steps > _MOST or density.variance == "learned":
        return 0.0
    times = np.linspace(0.0, 1.0, density.steps)
    errors = 1 / (1 + np.exp(-schedule.log_snr(times, np)))

    def missed(*errors_known: object) -> float:
        _, weight, cost = schedules.chain(schedule, times, np, density.variance, *errors_known)
        return float((weight * errors).mean() + cost)

    return missed() - missed(errors)


def null_names(density: DiffusionChain, site: str) -> tuple[str, ...]:
    """Learned values that take the place of dropped conditions (Ho and Salimans 2022); none where none is dropped."""
    count = len(density.context) if density.drop else 0
    return tuple(f"{site}.null" if count == 1 else f"{site}.null.{number}" for number in range(count))


def schedule_names(site: str) -> tuple[str, str, str]:
    """What `schedules.learned` takes: the last log-SNR, how far it falls, and how the fall is shared out."""
    return f"{site}.log_snr.last", f"{site}.log_snr.span", f"{site}.log_snr.shares"


def interior(site: Site) -> str | None:
    """The part of a learned schedule that the bound does not depend on: in continuous time, all but its ends."""
    density = site.density
    if not isinstance(density, DiffusionChain) or density.steps is not None or not learns_schedule(density):
        return None
    return schedule_names(site.name)[2]


def errors_name(site: str) -> str:
    """The mean squared error of the predicted noise at each step, which gives the best reverse variances."""
    return f"{site}.errors"
