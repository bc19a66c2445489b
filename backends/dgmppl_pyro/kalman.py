"""Linear-Gaussian chains in time: their likelihood and posterior (Kalman 1960; Rauch, Tung and Striebel 1965).

z_0 ~ Normal(m0, P0),  z_t = F_t z_{t-1} + b_t + Normal(0, Q_t),  y_t = H_t z_t + c_t + Normal(0, diag(r_t)),
with `m0` [.., n], `P0` [.., n, n], `F` [.., T-1 or 1, n, n], `b` [.., T-1 or 1, n], `Q` [.., T-1 or 1, n, n],
`H` [.., T or 1, D, n], `c` [.., T or 1, D], `r` [.., T or 1, D], `y` [.., T, D]. Leading axes are batch axes and
broadcast against each other; covariances that no datum changes are computed once for all.

`observed` [.., T, D] is true where an entry of y is present; the others drop out, whatever they hold. Covariances are
updated in Joseph's form, a sum of positive semidefinite terms, so that float32 keeps them so; P0 and Q may be singular.
Where the covariance of y_t given its past is not positive definite, results are NaN.

The gradient of log p(y) is written out (Koopman and Shephard 1992): the smoother's backward pass gives it, without a
recorded graph of every time's small operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dgmppl_pyro.operations import diag, matvec, only_backward, vecmat


def log_filter(
    y: Tensor,
    m0: Tensor,
    P0: Tensor,
    F: Tensor,
    b: Tensor,
    Q: Tensor,
    H: Tensor,
    c: Tensor,
    r: Tensor,
    observed: Tensor | None = None,
) -> Tensor:
    """log p(y) [..], nats, of the entries observed: the sum of log p(y_t | y_0, ..., y_{t-1})."""
    chain = _chain(y, F, b, Q, H, c, r, observed)
    parts = (m0, P0, *vars(chain).values())
    log_density: Tensor = _LogDensity.apply(*parts) if only_backward() else _log_density(_filter(chain, m0, P0))
    present = y.shape[-1] * y.shape[-2] if observed is None else observed.to(y.dtype).sum((-2, -1))
    return log_density - 0.5 * math.log(2 * math.pi) * present


def smoother(
    y: Tensor,
    m0: Tensor,
    P0: Tensor,
    F: Tensor,
    b: Tensor,
    Q: Tensor,
    H: Tensor,
    c: Tensor,
    r: Tensor,
    observed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Means [.., T, n] and covariances [.., T, n, n] of z_t given all of y.

    The backward pass is Bierman's (1973) form of Rauch, Tung and Striebel's: it carries the gradient and the curvature
    of log p(y_{t+1}, ... | z_t) and inverts no covariance of z.
    """
    chain = _chain(y, F, b, Q, H, c, r, observed)
    steps = _filter(chain, m0, P0)
    slopes, curvatures = _backward(chain, steps)
    means = steps.mean + matvec(steps.covariance, slopes)
    covariances = steps.covariance - steps.covariance @ curvatures @ steps.covariance
    return means, _symmetric(covariances)


@dataclass(frozen=True)
class _Chain:
    """The model with one entry per time, t = 0, ..., T - 1; z_0 is reached by the identity, without noise."""

    y: Tensor
    F: Tensor
    b: Tensor
    Q: Tensor
    H: Tensor
    r: Tensor


@dataclass(frozen=True)
class _Steps:
    """What the filter leaves of each time.

    Attributes:
        expected, predicted: mean and covariance of z_t given y_0, ..., y_{t-1}: [.., T, n], [.., T, n, n].
        mean, covariance: of z_t given y_0, ..., y_t.
        innovation: y_t minus its mean given the past [.., T, D].
        root: the Cholesky factor of its covariance [.., T, D, D].
        gain: K_t [.., T, n, D].
        remains: I - K_t H_t, the part of a prediction's error that the update leaves [.., T, n, n].
    """

    expected: Tensor
    predicted: Tensor
    mean: Tensor
    covariance: Tensor
    innovation: Tensor
    root: Tensor
    gain: Tensor
    remains: Tensor


def _chain(
    y: Tensor, F: Tensor, b: Tensor, Q: Tensor, H: Tensor, c: Tensor, r: Tensor, observed: Tensor | None
) -> _Chain:
    """An entry that is missing is a reading of pure noise: nothing of z, nothing unexpected, variance 1."""
    times, size = y.shape[-2], F.shape[-1]
    y, identity = y - c, torch.eye(size, dtype=F.dtype, device=F.device)
    if observed is not None:
        y, r = torch.where(observed, y, 0.0), torch.where(observed, r, 1.0)
        H = torch.where(observed[..., None], H, 0.0)
    return _Chain(
        y=y,
        F=_led(F, identity, times, 2),
        b=_led(b, torch.zeros_like(identity[0]), times, 1),
        Q=_led(Q, torch.zeros_like(identity), times, 2),
        H=H.expand(*H.shape[:-3], times, *H.shape[-2:]),
        r=r.expand(*r.shape[:-2], times, *r.shape[-1:]),
    )


def _led(steps: Tensor, first: Tensor, times: int, rank: int) -> Tensor:
    """The entries of t = 1, ..., T - 1 [.., T-1 or 1, *event] behind one of t = 0 [*event]: [.., T, *event]."""
    batch, event = steps.shape[: -rank - 1], steps.shape[-rank:]
    return torch.cat([first.expand(*batch, 1, *event), steps.expand(*batch, times - 1, *event)], -rank - 1)


def _filter(chain: _Chain, mean: Tensor, covariance: Tensor) -> _Steps:
    """Covariances first, which no datum changes; then the means of all data, m_t = A_t m_{t-1} + u_t."""
    predicted, covariances, root, gain, remains = _covariances(chain, covariance)
    shift = matvec(remains, chain.b) + matvec(gain, chain.y)
    means = _accumulated(remains @ chain.F, shift, mean)
    expected = matvec(chain.F, means[..., :-1, :]) + chain.b
    innovation = chain.y - matvec(chain.H, expected)
    return _Steps(expected, predicted, means[..., 1:, :], covariances, innovation, root, gain, remains)


def _covariances(chain: _Chain, covariance: Tensor) -> tuple[Tensor, ...]:
    """Of the predictions, of the filter, the root of the innovations', gains and remains, of every time."""
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    noises, variances = diag(chain.r).unbind(-3), chain.r[..., None, :].unbind(-3)
    kept = []
    for F, Q, H, R, r in zip(
        chain.F.unbind(-3), chain.Q.unbind(-3), chain.H.unbind(-3), noises, variances, strict=True
    ):
        predicted = F @ covariance @ F.mT + Q
        cross = H @ predicted
        root, failed = torch.linalg.cholesky_ex(cross @ H.mT + R)
        gain = torch.cholesky_solve(cross, root).mT
        remains = identity - gain @ H
        covariance = _symmetric(remains @ predicted @ remains.mT + (gain * r) @ gain.mT)
        kept.append((predicted, covariance, root, gain, remains, failed))
    *matrices, failures = zip(*kept, strict=True)
    predictions, covariances, roots, gains, remainders = (_stacked([*part], -3) for part in matrices)
    # NaN where an innovation's covariance has no root.
    sound = (_stacked([*failures], -1) == 0)[..., None, None]
    return predictions, covariances, torch.where(sound, roots, math.nan), gains, remainders


def _accumulated(factors: Tensor, terms: Tensor, start: Tensor) -> Tensor:
    """v_0 [.., n] and all v_t = A_t v_{t-1} + u_t of A [.., T, n, n] and u [.., T, n]: [.., T + 1, n]."""
    column = start[..., None]
    columns = [column]
    for factor, term in zip(factors.unbind(-3), terms[..., None].unbind(-3), strict=True):
        column = factor @ column + term
        columns.append(column)
    return _stacked(columns, -3)[..., 0]


def _log_density(steps: _Steps) -> Tensor:
    """log p(y) [..] but for the factors 2 pi."""
    surprise = _whiten(steps.root, steps.innovation).square().sum(-1)
    spread = steps.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -(0.5 * surprise + spread).sum(-1)


def _backward(chain: _Chain, steps: _Steps) -> tuple[Tensor, Tensor]:
    """Slopes [.., T, n] and negative curvatures [.., T, n, n] of log p(y_{t+1}, ... | z_t) at the filter's mean."""
    whitened = _whiten(steps.root, steps.innovation)
    rows = torch.linalg.solve_triangular(steps.root, chain.H, upper=False)
    news, sharpness = vecmat(whitened, rows), rows.mT @ rows
    onward, later = steps.remains @ chain.F, slice(1, None)
    flipped = [
        part.flip(-3) for part in (onward[..., later, :, :], (chain.F.mT @ sharpness @ chain.F)[..., later, :, :])
    ]
    curvature = torch.zeros_like(steps.covariance[..., 0, :, :])
    curvatures = [curvature]
    for factor, term in zip(*(part.unbind(-3) for part in flipped), strict=True):
        curvature = _symmetric(factor.mT @ curvature @ factor + term)
        curvatures.append(curvature)
    news = vecmat(news, chain.F)[..., later, :].flip(-2)
    slopes = _accumulated(flipped[0].mT, news, torch.zeros_like(steps.mean[..., 0, :]))
    return slopes.flip(-2), _stacked(curvatures[::-1], -3)


class _LogDensity(torch.autograd.Function):  # type: ignore[misc]
    """`_log_density` of m0, P0 and a chain, with its gradient; a second derivative goes through the recorded filter."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, covariance: Tensor, *chain: Tensor) -> Tensor:
        steps = _filter(_Chain(*chain), mean, covariance)
        ctx.save_for_backward(mean, covariance, *chain, *vars(steps).values())
        return _log_density(steps)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs, steps = ctx.saved_tensors[:8], _Steps(*ctx.saved_tensors[8:])
        if torch.is_grad_enabled():
            log_density = _log_density(_filter(_Chain(*inputs[2:]), *inputs[:2]))
            needed = [one for one, needs in zip(inputs, ctx.needs_input_grad, strict=True) if needs]
            found = iter(torch.autograd.grad(log_density, needed, cotangents, create_graph=True))
            return tuple(next(found) if needs else None for needs in ctx.needs_input_grad)
        slopes = _slopes(_Chain(*inputs[2:]), steps)
        (weight,) = cotangents
        return tuple(
            (weight.reshape(*weight.shape, *(1,) * rank) * slope).sum_to_size(one.shape)
            for one, slope, rank in zip(inputs, slopes, (1, 2, 2, 3, 2, 3, 3, 2), strict=True)
        )


def _slopes(chain: _Chain, steps: _Steps) -> tuple[Tensor, ...]:
    """Derivatives of log p(y) in m0, P0, y, F, b, Q, H and r, one per datum.

    With l and L the slope and negative curvature of what follows at the filter's mean, r and N those of all from y_t on
    at its prediction, and u = S^-1 v - K^T l, D = S^-1 + K^T L K those of the reading's noise, the derivatives in a
    prediction's mean and covariance are r and (r r^T - N) / 2; those in the noise are u and (u u^T - D) / 2.
    """
    later, curvature = _backward(chain, steps)
    inverse = torch.cholesky_inverse(steps.root)
    news = matvec(inverse, steps.innovation)
    noise = news - vecmat(later, steps.gain)
    noise_curvature = inverse + steps.gain.mT @ curvature @ steps.gain
    onward = vecmat(later, steps.remains) + vecmat(news, chain.H)
    ahead = steps.remains.mT @ curvature @ steps.remains + chain.H.mT @ inverse @ chain.H
    of_predicted, of_spread = _outer(onward, onward) - ahead, _outer(noise, noise) - noise_curvature
    of_cross = _outer(noise, later) + steps.gain.mT @ curvature
    past_mean, past_covariance = (torch.roll(one, 1, axis) for one, axis in ((steps.mean, -2), (steps.covariance, -3)))
    of_F = _outer(onward, past_mean) + of_predicted @ chain.F @ past_covariance
    of_H = _outer(noise, steps.expected) + (of_spread @ chain.H + of_cross) @ steps.predicted
    of_r = 0.5 * of_spread.diagonal(dim1=-2, dim2=-1)
    first = (onward[..., 0, :], 0.5 * of_predicted[..., 0, :, :])
    return *first, -noise, of_F, onward, 0.5 * of_predicted, of_H, of_r


def _outer(x: Tensor, y: Tensor) -> Tensor:
    return x[..., :, None] * y[..., None, :]


def _whiten(root: Tensor, x: Tensor) -> Tensor:
    """L^-1 x."""
    return torch.linalg.solve_triangular(root, x[..., None], upper=False)[..., 0]


def _symmetric(x: Tensor) -> Tensor:
    return 0.5 * (x + x.mT)


def _stacked(parts: list[Tensor], axis: int) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*parts), axis)
