"""Named bijectors, and the laws that each of them is held to."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import torch
from numpy.typing import NDArray

import dgmppl_numpyro.bijectors as jax_bijectors
from tests.flows import Flow, another, flow

Real = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
ROWS, SIZE = 6, 3


@dataclass(frozen=True)
class Instance:
    """A bijector with a name, as a spec writes it, for vectors of `SIZE`.

    Attributes:
        written: the text.
        domain, codomain: `real`, `positive`, `unit` or `interval`; "" where a set is mapped to itself.
        elementwise: each x_i depends on z_i alone, increasingly.
        two_way: it has an inverse.
    """

    written: str
    domain: str = "real"
    codomain: str = "real"
    elementwise: bool = False
    two_way: bool = True


INSTANCES = {
    "affine": Instance("affine()", elementwise=True),
    "spline": Instance("spline(bins=4, bound=3)", elementwise=True),
    "actnorm": Instance("actnorm()", elementwise=True),
    "permute": Instance("permute()", "", ""),
    "reverse": Instance("reverse()", "", ""),
    "lu_linear": Instance("lu_linear()"),
    "planar": Instance("planar()", two_way=False),
    "sigmoid": Instance("sigmoid()", codomain="unit", elementwise=True),
    "logit": Instance("logit()", domain="unit", elementwise=True),
    "softplus": Instance("softplus()", codomain="positive", elementwise=True),
    "exp": Instance("exp()", codomain="positive", elementwise=True),
    "log": Instance("log()", domain="positive", elementwise=True),
    "tanh": Instance("tanh()", codomain="interval", elementwise=True),
    "coupling_affine": Instance("coupling(mlp([4], activation=tanh), affine())"),
    "coupling_spline": Instance("coupling(mlp([4], activation=tanh), spline(bins=3, bound=2))"),
    "maf": Instance("autoregressive(made([6], activation=tanh), affine())"),
    "iaf": Instance("autoregressive(made([6], activation=tanh, order=reverse), affine(), direction=inverse)"),
    "inverse": Instance("inverse([spline(bins=3, bound=2), lu_linear()])"),
    "inverse_coupling": Instance("inverse(coupling(mlp([4], activation=tanh), affine()))"),
    "repeated": Instance("repeat(2, [coupling(mlp([4], activation=tanh), affine()), reverse()])"),
}
NAMES = tuple(INSTANCES)


def compatible(first: str, second: str) -> bool:
    """Whether what the first gives is what the second takes, and a density of the pair can be inverted."""
    given, wanted = INSTANCES[first].codomain, INSTANCES[second].domain
    inside = wanted in {"", given} or (given, wanted) in {("unit", "positive")} or wanted == "real"
    return inside or (given == "" and wanted != "")


PAIRS = [pair for pair in itertools.product(NAMES, NAMES) if compatible(*pair)]


def anew(name: str, **options: Any) -> Flow:
    """An instance anew."""
    return flow(INSTANCES[name].written, (SIZE,), domain=INSTANCES[name].domain or "real", **options)


@functools.cache
def built(name: str, seed: int = 0) -> Flow:
    """An instance with its parameters off their start."""
    return another(built(name), seed) if seed else anew(name)


def drawn(domain: str, seed: int = 7) -> Real:
    """Points of a domain, standard normal or their images."""
    z = np.random.default_rng(seed).standard_normal((ROWS, SIZE))
    inside: dict[str, Callable[[Real], Real]] = {"unit": lambda z: 1 / (1 + np.exp(-z)), "positive": np.exp}
    return inside.get(domain, lambda z: z)(z)


def domain_of(*names: str) -> str:
    """The set from which a chain's base is drawn: the first that some step demands, `real` where none does."""
    return next((INSTANCES[name].domain for name in names if INSTANCES[name].domain), "real")


def cheap(bijector: Any) -> str:
    """The direction that takes one pass."""
    return "inverse" if bijector.inverse_first else "forward"


def jacobian(bijector: Any, z: Real, x: Real, backend: str) -> Real:
    """dx/dz of each row by forward-mode differentiation of the direction that takes one pass."""
    direction = cheap(bijector)
    value = x if direction == "inverse" else z
    if backend == "pyro":
        function = torch.func.vmap(torch.func.jacfwd(getattr(bijector, direction)))
        found = function(torch.tensor(value)).detach().numpy()
    else:
        found = np.asarray(_jax_jacobian(bijector, value))
    return np.linalg.inv(found) if direction == "inverse" else found


# Compiled once and run once: what the optimizer of XLA would save does not pay for it.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)
_jax_jacobian = compiled(lambda bijector, value: jax.vmap(jax.jacfwd(getattr(bijector, cheap(bijector))))(value))
jax_maps = {
    direction: compiled(lambda bijector, value, direction=direction: getattr(bijector, direction)(value))
    for direction in ("forward_and_log_det", "inverse_and_log_det")
}


def mapped(bijector: Any, value: Real, backend: str, direction: str = "forward_and_log_det") -> tuple[Real, Real]:
    """Image and log-determinant as NumPy arrays."""
    if backend == "pyro":
        image, log_det = getattr(bijector, direction)(torch.tensor(value))
        return image.detach().numpy(), log_det.detach().numpy()
    image, log_det = jax_maps[direction](bijector, value)
    return np.asarray(image), np.asarray(log_det)


def check_laws(z: Real, x: Real, log_det: Real, jacobians: Real, back: tuple[Real, Real] | None) -> None:
    """The inverse within its error bound, both log-determinants against autodiff."""
    sign, expected = np.linalg.slogdet(jacobians)
    assert np.isfinite(x).all()
    assert (sign != 0).all()
    inverse = np.linalg.inv(jacobians)
    condition = np.linalg.norm(inverse, axis=(1, 2)) * np.linalg.norm(jacobians, axis=(1, 2))
    assert (np.abs(log_det - expected) <= 200 * EPS * (condition + np.abs(expected))).all()
    if back is not None:
        size_x, size_z = np.linalg.norm(x, axis=1), np.linalg.norm(z, axis=1)
        bound = 200 * EPS * (np.linalg.norm(inverse, axis=(1, 2)) * size_x + condition * size_z)
        assert (np.linalg.norm(back[0] - z, axis=1) <= bound).all()
        # z is off by its bound, and log |det J| by what its own slope makes of that.
        assert np.abs(back[1] + log_det).max() <= 1e4 * (bound / EPS).max() * EPS


class Compiled(jax_bijectors.Bijector):
    """A step whose maps are compiled by themselves, so that chains of it run without compiling anew."""

    arrays = ("inner",)

    def __init__(self, inner: Any) -> None:
        super().__init__(inner.event)
        self.inner, self.costly, self.source, self.target = inner, inner.costly, inner.source, inner.target

    def push(self, z: Any, _context: Any) -> Any:
        return jax_maps["forward_and_log_det"](self.inner, z)

    def pull(self, x: Any, _context: Any) -> Any:
        return jax_maps["inverse_and_log_det"](self.inner, x)
