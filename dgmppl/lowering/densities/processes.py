"""Gaussian processes at the inputs of the data: y ~ N(0, K + noise I), one joint event.

With the lower triangular L L^T = K + noise I (Rasmussen and Williams 2006, algorithm 2.1)

    log p(y) = -|L^-1 y|^2 / 2 - sum_i log L_ii - n / 2 log 2 pi,    y = L e, e ~ N(0, I).

`noise` is a variance, one for all points or one for each. Nothing else is added to the diagonal: where rounding leaves
no positive definite matrix, L is NaN, and the run's check of finite values says so.
"""

from __future__ import annotations

from dgmppl.ir.densities import GaussianProcess
from dgmppl.ir.kernel import DensityValue, Draw, LogProb, Number
from dgmppl.ir.types import Dtype, TensorType
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from, log_density
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import Lowered, combine, op
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.source import Span


def process_value(
    scope: Scope, density: GaussianProcess, kind: TensorType, span: Span | None, *, stop: bool = False
) -> tuple[DensityValue, Lowered]:
    """The multivariate normal of a process at n inputs, and a representative with the layout of one sample.

    Raises:
        UnsupportedError: the process has no single axis of inputs.
    """
    if len(kind.shape) != 1:
        raise unsupported(f"a Gaussian process over {list(kind.shape)}, which is no vector,", span)
    (count,) = kind.shape
    kernel, noise = (as_real(lower_expression(scope, part)) for part in (density.kernel, density.noise))
    eye = Lowered(op("eye", size=count), (count, count))
    covariance = combine("add", kernel, combine("mul", noise, eye))
    root = scope.assign("root", covariance.with_value(op("cholesky", covariance.value)))
    scale_tril = op("stop", root.value) if stop else root.value
    loc = op("fill", value=0.0, shape=(count,))
    form = DensityValue("MultivariateNormal", (("loc", loc), ("scale_tril", scale_tril)), 1, (count,), span=span)
    return form, Lowered(Number(0.0), (count,), root.batched, Dtype.REAL, root.axes)


@log_density.register
def _log_density(
    density: GaussianProcess, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    form, like = process_value(scope, density, variable.kind, variable.span, stop=stop)
    log_p = LogProb(form, as_real(value).value, span=variable.span)
    return Lowered(log_p, (), like.batched or value.batched, Dtype.REAL, like.axes | value.axes)


@draw_from.register
def _draw(density: GaussianProcess, scope: Scope, variable: Variable) -> Lowered:
    form, like = process_value(scope, density, variable.kind, variable.span)
    noise = scope.random(variable.name, "normal", variable.kind.shape, variable.kind.plate)
    sample = Draw(form, noise.value, span=variable.span)
    return Lowered(sample, variable.kind.shape, noise.batched or like.batched, Dtype.REAL, like.axes | noise.axes)
