"""Linear-Gaussian chains in time: their likelihood and posterior (Kalman 1960; Rauch, Tung and Striebel 1965).

z_0 ~ Normal(m0, P0),  z_t = F_t z_{t-1} + b_t + Normal(0, Q_t),  y_t = H_t z_t + c_t + Normal(0, diag(r_t)),
with `m0` [.., n], `P0` [.., n, n], `F` [.., T-1 or 1, n, n], `b` [.., T-1 or 1, n], `Q` [.., T-1 or 1, n, n],
`H` [.., T or 1, D, n], `c` [.., T or 1, D], `r` [.., T or 1, D], `y` [.., T, D]. Leading axes are batch axes and
broadcast against each other; covariances that no datum changes are computed once for all.

`observed` [.., T, D] is true where an entry of y is present; the others drop out, whatever they hold. Covariances are
updated in Joseph's form, a sum of positive semidefinite terms, so that float32 keeps them so; P0 and Q may be singular.
Where the covariance of y_t given its past is not positive definite, results are NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dgmppl_pyro.operations import diag, matvec, vecmat


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
    steps = _filter(chain, m0, P0)
    surprise = _whiten(steps.root, steps.innovation).square().sum(-1)
    spread = steps.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    present = y.shape[-1] if observed is None else observed.to(y.dtype).sum(-1)
    return -(0.5 * surprise + spread + 0.5 * math.log(2 * math.pi) * present).sum(-1)


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
        mean, covariance: of z_t given y_0, ..., y_t: [.., T, n], [.., T, n, n].
        innovation: y_t minus its mean given the past [.., T, D].
        root: the Cholesky factor of its covariance [.., T, D, D].
        remains: I - K_t H_t, the part of a prediction's error that the update leaves [.., T, n, n].
    """

    mean: Tensor
    covariance: Tensor
    innovation: Tensor
    root: Tensor
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
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    matrices = (chain.F.unbind(-3), chain.Q.unbind(-3), chain.H.unbind(-3), diag(chain.r).unbind(-3))
    vectors = (chain.b.unbind(-2), chain.r[..., None, :].unbind(-3), chain.y.unbind(-2))
    kept = []
    for F, Q, H, R, b, r, y in zip(*matrices, *vectors, strict=True):
        predicted = F @ covariance @ F.mT + Q
        cross = H @ predicted
        root = _root(cross @ H.mT + R)
        gain = torch.cholesky_solve(cross, root).mT
        remainder = identity - gain @ H
        covariance = _symmetric(remainder @ predicted @ remainder.mT + (gain * r) @ gain.mT)
        expected = matvec(F, mean) + b
        innovation = y - matvec(H, expected)
        mean = expected + matvec(gain, innovation)
        kept.append((mean, covariance, innovation, root, remainder))
    means, covariances, innovations, roots, remainders = map(list, zip(*kept, strict=True))
    return _Steps(
        mean=_stacked(means, -2),
        covariance=_stacked(covariances, -3),
        innovation=_stacked(innovations, -2),
        root=_stacked(roots, -3),
        remains=_stacked(remainders, -3),
    )


def _backward(chain: _Chain, steps: _Steps) -> tuple[Tensor, Tensor]:
    """Slopes [.., T, n] and negative curvatures [.., T, n, n] of log p(y_{t+1}, ... | z_t) at the filter's mean."""
    whitened = _whiten(steps.root, steps.innovation)
    rows = torch.linalg.solve_triangular(steps.root, chain.H, upper=False)
    news, sharpness = vecmat(whitened, rows), rows.mT @ rows
    slope, curvature = torch.zeros_like(steps.mean[..., 0, :]), torch.zeros_like(steps.covariance[..., 0, :, :])
    slopes, curvatures = [slope], [curvature]
    for t in range(chain.y.shape[-2] - 1, 0, -1):
        F = chain.F[..., t, :, :]
        onward = steps.remains[..., t, :, :] @ F
        slope = vecmat(slope, onward) + vecmat(news[..., t, :], F)
        curvature = _symmetric(onward.mT @ curvature @ onward + F.mT @ sharpness[..., t, :, :] @ F)
        slopes.append(slope)
        curvatures.append(curvature)
    return _stacked(slopes[::-1], -2), _stacked(curvatures[::-1], -3)


def _root(covariance: Tensor) -> Tensor:
    """The lower Cholesky factor; NaN where there is none."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    return torch.where((failed == 0)[..., None, None], root, math.nan)


def _whiten(root: Tensor, x: Tensor) -> Tensor:
    """L^-1 x."""
    return torch.linalg.solve_triangular(root, x[..., None], upper=False)[..., 0]


def _symmetric(x: Tensor) -> Tensor:
    return 0.5 * (x + x.mT)


def _stacked(parts: list[Tensor], axis: int) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*parts), axis)
