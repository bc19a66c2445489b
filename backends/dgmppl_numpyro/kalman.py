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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from dgmppl_numpyro.operations import diag, matvec, vecmat


def log_filter(
    y: Array,
    m0: Array,
    P0: Array,
    F: Array,
    b: Array,
    Q: Array,
    H: Array,
    c: Array,
    r: Array,
    observed: Array | None = None,
) -> Array:
    """log p(y) [..], nats, of the entries observed: the sum of log p(y_t | y_0, ..., y_{t-1})."""
    chain = _chain(y, F, b, Q, H, c, r, observed)
    steps = _filter(chain, m0, P0)
    surprise = jnp.square(_whiten(steps.root, steps.innovation)).sum(-1)
    spread = jnp.log(jnp.diagonal(steps.root, axis1=-2, axis2=-1)).sum(-1)
    present = y.shape[-1] if observed is None else observed.astype(y.dtype).sum(-1)
    return -(0.5 * surprise + spread + 0.5 * math.log(2 * math.pi) * present).sum(-1)


def smoother(
    y: Array,
    m0: Array,
    P0: Array,
    F: Array,
    b: Array,
    Q: Array,
    H: Array,
    c: Array,
    r: Array,
    observed: Array | None = None,
) -> tuple[Array, Array]:
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


class _Chain(NamedTuple):
    """The model with one entry per time, t = 0, ..., T - 1; z_0 is reached by the identity, without noise."""

    y: Array
    F: Array
    b: Array
    Q: Array
    H: Array
    r: Array


class _Steps(NamedTuple):
    """What the filter leaves of each time.

    Attributes:
        mean, covariance: of z_t given y_0, ..., y_t: [.., T, n], [.., T, n, n].
        innovation: y_t minus its mean given the past [.., T, D].
        root: the Cholesky factor of its covariance [.., T, D, D].
        remains: I - K_t H_t, the part of a prediction's error that the update leaves [.., T, n, n].
    """

    mean: Array
    covariance: Array
    innovation: Array
    root: Array
    remains: Array


def _chain(y: Array, F: Array, b: Array, Q: Array, H: Array, c: Array, r: Array, observed: Array | None) -> _Chain:
    """An entry that is missing is a reading of pure noise: nothing of z, nothing unexpected, variance 1."""
    times, size = y.shape[-2], F.shape[-1]
    y, identity = y - c, jnp.eye(size, dtype=F.dtype)
    if observed is not None:
        y, r = jnp.where(observed, y, 0.0), jnp.where(observed, r, 1.0)
        H = jnp.where(observed[..., None], H, 0.0)
    return _Chain(
        y=y,
        F=_led(F, identity, times, 2),
        b=_led(b, jnp.zeros_like(identity[0]), times, 1),
        Q=_led(Q, jnp.zeros_like(identity), times, 2),
        H=jnp.broadcast_to(H, (*H.shape[:-3], times, *H.shape[-2:])),
        r=jnp.broadcast_to(r, (*r.shape[:-2], times, *r.shape[-1:])),
    )


def _led(steps: Array, first: Array, times: int, rank: int) -> Array:
    """The entries of t = 1, ..., T - 1 [.., T-1 or 1, *event] behind one of t = 0 [*event]: [.., T, *event]."""
    batch, event = steps.shape[: -rank - 1], steps.shape[-rank:]
    first, steps = jnp.broadcast_to(first, (*batch, 1, *event)), jnp.broadcast_to(steps, (*batch, times - 1, *event))
    return jnp.concatenate([first, steps], -rank - 1)


def _filter(chain: _Chain, mean: Array, covariance: Array) -> _Steps:
    identity = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)

    def step(state: tuple[Array, Array], at: _Chain) -> tuple[tuple[Array, Array], _Steps]:
        mean, covariance = state
        predicted = at.F @ covariance @ at.F.mT + at.Q
        cross = at.H @ predicted
        root = jnp.linalg.cholesky(cross @ at.H.mT + diag(at.r))
        lower, right = _paired(root, cross)
        gain = cho_solve((lower, True), right).mT
        remainder = identity - gain @ at.H
        noise = gain * at.r[..., None, :]
        covariance = _symmetric(remainder @ predicted @ remainder.mT + noise @ gain.mT)
        expected = matvec(at.F, mean) + at.b
        innovation = at.y - matvec(at.H, expected)
        mean = expected + matvec(gain, innovation)
        return (mean, covariance), _Steps(mean, covariance, innovation, root, remainder)

    spreading = (*(part.shape[:-3] for part in (chain.F, chain.Q, chain.H)), chain.r.shape[:-2], covariance.shape[:-2])
    shape = jnp.broadcast_shapes(*spreading, chain.b.shape[:-2], chain.y.shape[:-2], mean.shape[:-1])
    start = (
        jnp.broadcast_to(mean, shape + mean.shape[-1:]),
        jnp.broadcast_to(covariance, jnp.broadcast_shapes(*spreading) + covariance.shape[-2:]),
    )
    along = _Chain(*map(_first, chain, _Chain(y=1, F=2, b=1, Q=2, H=2, r=1)))
    steps: _Steps = jax.lax.scan(step, start, along)[1]
    return _Steps(*map(_last, steps, _Steps(mean=1, covariance=2, innovation=1, root=2, remains=2)))


def _backward(chain: _Chain, steps: _Steps) -> tuple[Array, Array]:
    """Slopes [.., T, n] and negative curvatures [.., T, n, n] of log p(y_{t+1}, ... | z_t) at the filter's mean."""
    whitened = _whiten(steps.root, steps.innovation)
    rows = solve_triangular(*_paired(steps.root, chain.H), lower=True)
    news, sharpness = vecmat(whitened, rows), rows.mT @ rows

    def step(state: tuple[Array, Array], at: tuple[Array, ...]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        (slope, curvature), (F, remains, news, sharpness) = state, at
        onward = remains @ F
        earlier = vecmat(slope, onward) + vecmat(news, F)
        return (earlier, _symmetric(onward.mT @ curvature @ onward + F.mT @ sharpness @ F)), state

    start = (jnp.zeros_like(steps.mean[..., 0, :]), jnp.zeros_like(steps.covariance[..., 0, :, :]))
    along = (_first(chain.F, 2), _first(steps.remains, 2), _first(news, 1), _first(sharpness, 2))
    slopes, curvatures = jax.lax.scan(step, start, along, reverse=True)[1]
    return _last(slopes, 1), _last(curvatures, 2)


def _first(x: Array, rank: int) -> Array:
    """[.., T, *event of this rank] with time in front, where scans run."""
    return jnp.moveaxis(x, -rank - 1, 0)


def _last(x: Array, rank: int) -> Array:
    """The inverse of `_first`."""
    return jnp.moveaxis(x, 0, -rank - 1)


def _whiten(root: Array, x: Array) -> Array:
    """L^-1 x."""
    return solve_triangular(*_paired(root, x[..., None]), lower=True)[..., 0]


def _paired(left: Array, right: Array) -> tuple[Array, Array]:
    """Matrices with the same leading axes, which JAX's solvers ask for."""
    batch = jnp.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return jnp.broadcast_to(left, batch + left.shape[-2:]), jnp.broadcast_to(right, batch + right.shape[-2:])


def _symmetric(x: Array) -> Array:
    return 0.5 * (x + x.mT)
