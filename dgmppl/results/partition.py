"""log Z of an unnormalized density: the sum over its states, quadrature, or annealed importance sampling.

Forward annealing from draws of the base estimates Z without bias, so that its logarithm lies below log Z on average;
reverse annealing from exact draws of the model estimates 1 / Z without bias, so that its logarithm lies above (Neal
2001; Burda, Grosse and Salakhutdinov 2015).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgmppl.backend import Arrays, Executable
from dgmppl.errors import RunError
from dgmppl.ir.densities import Unnormalized
from dgmppl.ir.emission.names import identifier
from dgmppl.ir.expressions import Call
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import LOG_Z
from dgmppl.ir.program import Program, Site
from dgmppl.lowering.points import members
from dgmppl.results.evaluation import chunks, log_mean_exp, standard_error

Array = NDArray[Any]

# States that are summed at most, and points of quadrature.
_STATES, _POINTS = 2**22, 2**23
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class LogZ:
    """An estimate of log Z, or its value.

    Attributes:
        site: whose density it normalizes.
        value: nats.
        standard_error: of the value, nats, to first order in the relative error of Z; 0 for a sum.
        method: `sum`, `quadrature`, `annealed`, `annealed backwards`.
        chains: how many chains stand behind it; 0 without chains.
        effective: the effective number of them, (sum w)^2 / sum w^2.
    """

    site: str
    value: float
    standard_error: float
    method: str
    chains: int = 0
    effective: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Stable JSON data."""
        return {**asdict(self), "unit": "nats"}

    def __str__(self) -> str:
        chains = f", {self.chains} chains, {self.effective:.1f} of them effective" if self.chains else ""
        return f"log Z of {self.site} = {self.value:.4f} ± {self.standard_error:.4f} nats ({self.method}{chains})"


def log_normalizer(program: Program, executable: Executable, values: Arrays, site: str, seed: int = 0) -> LogZ:
    """log Z by the estimator that `evaluate: {log_z: ...}` names; annealed importance sampling by default.

    Args:
        program: the typed program.
        executable: its emitted functions.
        values: parameters, constrained, by canonical name.
        site: the unnormalized site.
        seed: of the chains.

    Raises:
        RunError: log Z changes from row to row, may be infinite, or the estimator does not fit the support.
    """
    declared = program.by_name[site]
    _refuse_context(program, declared)
    call = program.evaluate.get("log_z")
    call = call if isinstance(call, Call) else Call("ais")
    options = bind(call, LOG_Z, "estimator of log Z")
    if call.function != "ais" and len(together := members(program, declared)) > 1:
        names = ", ".join(one.name for one in together)
        raise RunError(f"log_z: {call.function}() takes one site, not the joint density of {names}; use ais()")
    match call.function:
        case "exact":
            return summed(executable, values, declared)
        case "quadrature":
            return integrated(executable, values, declared, options["points"])
        case _ if options["reverse"]:
            raise RunError("ais(reverse=True) needs exact draws of the model: give them to annealed_backwards()")
    _refuse_unconfined(declared)
    return annealed(executable, values, site, options["chains"], seed)


def annealed(executable: Executable, values: Arrays, site: str, chains: int, seed: int = 0) -> LogZ:
    """Forward: log of the mean weight of chains that begin at the base; below log Z on average."""
    log_weights = executable.call(identifier(f"anneal_{site}"), values, {}, seed=seed, rows=chains)["log_weights"]
    return _estimate(site, np.asarray(log_weights, np.float64), "annealed", 1.0)


def annealed_backwards(executable: Executable, values: Arrays, site: str, draws: Array, seed: int = 0) -> LogZ:
    """Reverse: minus log of the mean inverse weight of chains that begin at exact draws; above log Z on average.

    Args:
        executable: the emitted functions.
        values: parameters.
        site: the unnormalized site.
        draws: exact draws of it, [chains, *event].
        seed: of the chains.
    """
    result = executable.call(identifier(f"anneal_{site}_back"), values, {site: draws}, seed=seed, rows=len(draws))
    return _estimate(site, np.asarray(result["log_weights"], np.float64), "annealed backwards", -1.0)


def _estimate(site: str, log_weights: Array, method: str, sign: float) -> LogZ:
    """The logarithm of the mean weight, or minus that of the mean inverse weight.

    Raises:
        RunError: a weight is NaN.
    """
    if np.isnan(log_weights).any():
        raise RunError(f"log Z of {site}: the energy is not finite along {np.isnan(log_weights).sum()} annealed chains")
    signed = sign * log_weights
    mean = float(log_mean_exp(signed))
    ratios = np.exp(signed - mean)
    error = standard_error(ratios) if ratios.size > 1 else math.inf
    effective = float(ratios.sum() ** 2 / np.square(ratios).sum())
    return LogZ(site, sign * mean, error, method, ratios.size, effective)


def summed(executable: Executable, values: Arrays, site: Site) -> LogZ:
    """log of the sum of p~ over every state of a finite support.

    Raises:
        RunError: the support is not finite, or has too many states.
    """
    kind = site.typed
    states, size = kind.support.states, math.prod(kind.shape)
    if states is None or states**size > _STATES:
        raise RunError(f"log_z: exact() sums at most {_STATES} states; {site.name} has more, or infinitely many")
    every = itertools.product(range(states), repeat=size)
    points = np.fromiter(itertools.chain.from_iterable(every), np.int64).reshape(-1, *kind.shape)
    return LogZ(site.name, _log_sum(executable, values, site.name, points, np.zeros(len(points))), 0.0, "sum")


def integrated(executable: Executable, values: Arrays, site: Site, points: int) -> LogZ:
    """log of the integral of p~ over the reals, in one to three dimensions.

    The trapezoidal rule in u, x = u / (1 - u^2) with u in (-1, 1), which for densities that fall off fast converges
    faster than any power of the step. The error is the difference to half as many points.

    Raises:
        RunError: the support is not real, or has too many dimensions.
    """
    size = math.prod(site.typed.shape)
    if site.typed.support.kind != "real" or not 1 <= size <= 3 or points**size > _POINTS:
        raise RunError(f"log_z: quadrature() integrates real supports of 1 to 3 dimensions, not that of {site.name}")
    fine, coarse = (_quadrature(executable, values, site, count) for count in (points, points // 2))
    return LogZ(site.name, fine, abs(fine - coarse), "quadrature")


def _quadrature(executable: Executable, values: Arrays, site: Site, points: int) -> float:
    u = np.linspace(-1.0, 1.0, points + 1, endpoint=False)[1:]
    x, log_step = u / (1.0 - u**2), np.log((1.0 + u**2) / (1.0 - u**2) ** 2 * 2.0 / (points + 1))
    size, shape = math.prod(site.typed.shape), site.typed.shape
    grid = np.stack(np.meshgrid(*[x] * size, indexing="ij"), -1).reshape(-1, *shape)
    weights = sum(np.meshgrid(*[log_step] * size, indexing="ij")).reshape(-1)  # type: ignore[union-attr]
    return _log_sum(executable, values, site.name, grid, weights)


def _log_sum(executable: Executable, values: Arrays, site: str, points: Array, log_weights: Array) -> float:
    """log sum of weights times p~ over points, a chunk at a time; the last chunk is filled up with copies."""
    elements = max(points[0].size, 1) * _CHUNK
    parts = list(chunks(len(points), elements))
    length = parts[0].stop
    found = []
    for rows in parts:
        part = points[rows]
        full = np.concatenate([part, np.repeat(part[:1], length - len(part), 0)])
        value = executable.call(identifier(f"unnormalized_{site}"), values, {site: full}, rows=length)["value"]
        found.append(np.asarray(value, np.float64)[: len(part)] + log_weights[rows])
    return float(np.logaddexp.reduce(np.concatenate(found)))


def _refuse_context(program: Program, site: Site) -> None:
    columns: Mapping[str, object] = program.columns
    own = {*site.joint, site.name}
    context = [name for name in site.parents if name in columns and name not in own]
    if context:
        raise RunError(
            f"log Z of {site.name} changes with {context[0]} from row to row; no single number normalizes it"
        )


def _refuse_unconfined(site: Site) -> None:
    density = site.density
    assert isinstance(density, Unnormalized)
    if density.base is None and not site.typed.support.discrete and not site.typed.support.confined:
        raise RunError(
            f"Z of {site.name} may be infinite: its support is unbounded and the energy has no base; "
            "write Energy(..., base=Normal(0, 1))"
        )
