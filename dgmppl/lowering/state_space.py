"""Linear-Gaussian chains that are integrated by recursion: the matrices of the Kalman filter (Kalman 1960).

z_t = F_t z_{t-1} + b_t + N(0, Q_t), y_t = H_t z_t + c_t + N(0, diag(r_t)). As for other linear-Gaussian latents, an
affine map is found by evaluating it at the origin and at the unit vectors, so it does not matter how it was written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dgmppl.ir.densities import Density, Elementary, MarkovChain
from dgmppl.ir.kernel import Value
from dgmppl.ir.program import Site
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.clocks import Moment, Parallel
from dgmppl.lowering.densities import density_value
from dgmppl.lowering.densities.chains import clocked, first_general
from dgmppl.lowering.densities.forms import Variable
from dgmppl.lowering.gaussian import affine, joined
from dgmppl.lowering.hidden_markov import lookup_outside
from dgmppl.lowering.layout import POINTS, Lowered, combine, flat, op, raise_rank, reshaped
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.algebra import LogIntegral


@dataclass(frozen=True, slots=True)
class StateSpace:
    """What the recursions take, in their order: y, m0, P0, F, b, Q, H, c, r, and where entries are observed."""

    parts: tuple[Lowered, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        """The matrices as values."""
        return tuple(part.value for part in self.parts)

    @property
    def axes(self) -> frozenset[str]:
        """What the result of a recursion varies over."""
        return frozenset().union(*(part.axes for part in self.parts))


def log_filter(scope: Scope, term: LogIntegral) -> Lowered:
    """log p of everything that reads the chain, the chain integrated out."""
    model = state_space(scope, term)
    return scope.assign("log_p", Lowered(op("log_filter", *model.operands), (), True, axes=model.axes))


def state_space(scope: Scope, term: LogIntegral) -> StateSpace:
    """The matrices of a linear-Gaussian chain and of what reads it.

    Raises:
        UnsupportedError: several chains are integrated together, or one remembers more than one step.
    """
    site = scope.program.by_name[term.names[0]]
    chain = site.density
    if len(term.names) > 1 or not isinstance(chain, MarkovChain) or chain.lag != 1 or len(chain.initial) != 1:
        raise unsupported(f"the Kalman filter over {', '.join(map(repr, term.names))} together", site.span)
    length, shape = site.typed.shape[0], site.typed.shape[1:]
    step = Variable.of(site).shaped(shape)
    with scope.within(clocked(scope, Moment(chain.index, scope.frame, length))):
        mean, covariance = moments(scope, chain.initial[0][1], step)
    points = _points(scope, site, shape)
    with scope.within(clocked(scope, Parallel(chain.index, scope.frame, length, 1, {(site.name, 1): points}))):
        moved, spread = moments(scope, chain.transition, step)
        offset, loading = affine(scope, scope.assign(f"{site.name}_mean", moved), f"{site.name}_", step.kind.size)
    readers = [_reading(scope, site, points, scope.program.by_name[name]) for name in term.children]
    value, at, matrix, variance = ([reader[place] for reader in readers] for place in range(4))
    masks = [_observed(scope, scope.program.by_name[name]) for name in term.children]
    parts = [joined(value), mean, covariance, loading, offset, spread, _rows(matrix), joined(at), joined(variance)]
    return StateSpace((*parts, *([_mask(masks, value)] if any(mask is not None for mask in masks) else [])))


def moments(scope: Scope, density: Density, variable: Variable, *, diagonal: bool = False) -> tuple[Lowered, Lowered]:
    """Mean [.., n] and covariance [.., n, n] (or with `diagonal` variance [.., n]) of a Gaussian step, flattened.

    Raises:
        UnsupportedError: the step is neither a Normal nor, where matrices are taken, a MultivariateNormal.
    """
    if not isinstance(density, Elementary) or density.family not in {"Normal", "MultivariateNormal"}:
        raise unsupported(f"the Kalman filter over {variable.name!r}, whose steps are no Normal,", variable.span)
    form, like = density_value(scope, density, variable.kind, variable.span)
    parameters = dict(form.parameters)
    mean = flat(_spread(like.with_value(parameters["loc"]), variable.kind.shape))
    if density.family == "Normal":
        scale = flat(_spread(like.with_value(parameters["scale"]), variable.kind.shape))
        variance = scale.with_value(op("call", scale.value, function="square"))
        return mean, variance if diagonal else variance.with_value(op("diag", variance.value), (mean.size, mean.size))
    if diagonal:
        raise unsupported(f"correlated readings {variable.name!r} of a Kalman filter", variable.span)
    size = mean.size
    if "covariance_matrix" in parameters:
        return mean, like.with_value(parameters["covariance_matrix"], (size, size))
    if "precision_matrix" in parameters:
        return mean, like.with_value(op("inverse", parameters["precision_matrix"]), (size, size))
    root = parameters["scale_tril"]
    return mean, like.with_value(op("matmul", root, op("transpose", root)), (size, size))


def _spread(value: Lowered, shape: Shape) -> Lowered:
    """A parameter broadcast to the step's shape."""
    if value.literal is not None:
        return Lowered(op("fill", value=value.literal, shape=shape or (1,)), shape or (1,))
    if not shape:
        return value.with_value(value.value, ())
    return value.with_value(op("broadcast", raise_rank(value, len(shape)).value, shape=shape), shape)


def _points(scope: Scope, site: Site, shape: Shape) -> Lowered:
    """The chain's step at the origin and the unit vectors, on a new left axis; time stands among the batch axes."""
    size = Variable.of(site).shaped(shape).kind.size
    value = op("simplex_points", size=size, trailing=scope.trailing + 1)
    basis = Lowered(value, (size,), True, axes=frozenset({POINTS}))
    return scope.assign("points", reshaped(basis, shape))


def _reading(scope: Scope, hidden: Site, points: Lowered, site: Site) -> tuple[Lowered, Lowered, Lowered, Lowered]:
    """y [.., T, D], c, H, r of one series that reads the chain."""
    chain = site.density
    if not isinstance(chain, MarkovChain) or chain.initial or first_general(chain):
        raise unsupported(f"the series {site.name!r}, which reads more than one step,", site.span)
    length, shape = site.typed.shape[0], site.typed.shape[1:]
    step = Variable.of(site).shaped(shape)
    clock = Parallel(chain.index, scope.frame, length, 0, {(hidden.name, 0): points})
    with scope.within(clocked(scope, clock)):
        value = flat(clock.at(scope, lookup_outside(scope, site.name), 0))
        mean, variance = moments(scope, chain.transition, step, diagonal=True)
        size = Variable.of(hidden).shaped(hidden.typed.shape[1:]).kind.size
        offset, loading = affine(scope, scope.assign(f"{site.name}_mean", mean), f"{site.name}_", size)
    return value, offset, loading, variance


def _observed(scope: Scope, site: Site) -> Lowered | None:
    """Where a series' entries are observed, [.., T, D]; None where all are."""
    column = scope.program.columns.get(site.name)
    if column is None or not column.missing:
        return None
    mask = scope.mask(site.name)
    return flat(Lowered(mask.value, mask.shape[1:], True, mask.dtype))


def _mask(masks: list[Lowered | None], values: list[Lowered]) -> Lowered:
    """The masks of all series, one after the other; true where a series lacks nothing."""
    whole = [
        combine("eq", value, value, dtype=Dtype.BOOLEAN) if mask is None else mask
        for mask, value in zip(masks, values, strict=True)
    ]
    return joined(whole)


def _rows(parts: list[Lowered]) -> Lowered:
    """Loadings of several series, one below the other."""
    if len(parts) == 1:
        return parts[0]
    axes = frozenset().union(*(part.axes for part in parts))
    shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])
    return replace(
        parts[0], value=op("concat_broadcast", *(part.value for part in parts), axis=-2), shape=shape, axes=axes
    )
