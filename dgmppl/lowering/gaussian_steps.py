"""Gaussian steps of chains: their moments, and the steps themselves as affine functions of standard normals."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.densities import Density, Elementary
from dgmppl.ir.kernel import Value
from dgmppl.ir.types import Shape
from dgmppl.lowering.densities import density_value
from dgmppl.lowering.densities.forms import Variable
from dgmppl.lowering.layout import Lowered, combine, flat, op, raise_rank, reshaped
from dgmppl.lowering.scope import Scope, unsupported


def moments(scope: Scope, density: Density, variable: Variable, *, diagonal: bool = False) -> tuple[Lowered, Lowered]:
    """Mean [.., n] and covariance [.., n, n] (or with `diagonal` variance [.., n]) of a Gaussian step, flattened.

    Raises:
        UnsupportedError: the step is neither a Normal nor, where matrices are taken, a MultivariateNormal.
    """
    mean, parameters, like = _gaussian(scope, density, variable)
    if "scale" in parameters:
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


def reached(scope: Scope, density: Density, variable: Variable, eps: Lowered) -> Lowered:
    """A Gaussian step as its mean and standard normals times its scale, or the root of its covariance."""
    mean, parameters, like = _gaussian(scope, density, variable)
    if "scale" in parameters:
        noise = combine("mul", flat(_spread(like.with_value(parameters["scale"]), variable.kind.shape)), eps)
    else:
        root = parameters.get("scale_tril")
        if root is None:
            covariance = parameters.get("covariance_matrix")
            root = op("cholesky", op("inverse", parameters["precision_matrix"]) if covariance is None else covariance)
        varying = replace(like, batched=True, axes=like.axes | eps.axes)
        noise = varying.with_value(op("matvec", root, eps.value), (mean.size,))
    return scope.assign(variable.name, reshaped(combine("add", mean, noise), variable.kind.shape))


def _gaussian(scope: Scope, density: Density, variable: Variable) -> tuple[Lowered, dict[str, Value], Lowered]:
    """The mean of a Gaussian step, flattened, its parameters, and their layout."""
    if not isinstance(density, Elementary) or density.family not in {"Normal", "MultivariateNormal"}:
        raise unsupported(f"the Kalman filter over {variable.name!r}, whose steps are no Normal,", variable.span)
    if density.family == "MultivariateNormal" and len(variable.kind.shape) > 1:
        raise unsupported(f"the Kalman filter over {variable.name!r}, whose steps are several vectors,", variable.span)
    form, like = density_value(scope, density, variable.kind, variable.span)
    parameters = dict(form.parameters)
    return flat(_spread(like.with_value(parameters["loc"]), variable.kind.shape)), parameters, like


def _spread(value: Lowered, shape: Shape) -> Lowered:
    """A parameter broadcast to the step's shape."""
    if value.literal is not None:
        return Lowered(op("fill", value=value.literal, shape=shape or (1,)), shape or (1,))
    if not shape:
        return value.with_value(value.value, ())
    return value.with_value(op("broadcast", raise_rank(value, len(shape)).value, shape=shape), shape)
