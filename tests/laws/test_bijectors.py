"""Laws of every bijector, and of every pair of compatible ones, on both backends in float64.

The inverse of f at x = f(z) is z up to rounding: evaluating f moves x by a few units in its last place, and f^-1
carries that back by the factor |J^-1|: the error is at most C eps (|J^-1| |x| + cond(J) |z|), C the operations' number.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro_dist
import pyro.distributions as pyro_dist
import pytest
import torch
from numpy.typing import NDArray

import dgmppl_numpyro.bijectors as jax_bijectors
import dgmppl_pyro.bijectors as torch_bijectors
from dgmppl.ir.bijectors import BIJECTORS, ordering
from tests.flows import Flow, another, flow
from tests.support import BACKENDS

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


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


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
_compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)
_jax_jacobian = _compiled(lambda bijector, value: jax.vmap(jax.jacfwd(getattr(bijector, cheap(bijector))))(value))
_jax_maps = {
    direction: _compiled(lambda bijector, value, direction=direction: getattr(bijector, direction)(value))
    for direction in ("forward_and_log_det", "inverse_and_log_det")
}


def mapped(bijector: Any, value: Real, backend: str, direction: str = "forward_and_log_det") -> tuple[Real, Real]:
    """Image and log-determinant as NumPy arrays."""
    if backend == "pyro":
        image, log_det = getattr(bijector, direction)(torch.tensor(value))
        return image.detach().numpy(), log_det.detach().numpy()
    image, log_det = _jax_maps[direction](bijector, value)
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_laws_of_each(name: str, backend: str) -> None:
    made, instance = built(name).on(backend), INSTANCES[name]
    z = drawn(instance.domain)
    x, log_det = mapped(made, z, backend)
    assert x.shape == z.shape
    assert log_det.shape == (ROWS,)
    back = mapped(made, x, backend, "inverse_and_log_det") if instance.two_way else None
    jacobians = jacobian(made, z, x, backend)
    check_laws(z, x, log_det, jacobians, back)
    if instance.elementwise:
        assert (np.diagonal(jacobians, axis1=1, axis2=2) > 0).all()
        assert np.abs(jacobians * (1 - np.eye(SIZE))).max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_backends_agree(name: str) -> None:
    z = drawn(INSTANCES[name].domain, seed=3)
    (x, log_det), (y, other) = (mapped(built(name).on(backend), z, backend) for backend in BACKENDS)
    assert np.abs(x - y).max() <= 1e-12
    assert np.abs(log_det - other).max() <= 1e-12


class Compiled(jax_bijectors.Bijector):
    """A step whose maps are compiled by themselves, so that chains of it run without compiling anew."""

    arrays = ("inner",)

    def __init__(self, inner: Any) -> None:
        super().__init__(inner.event)
        self.inner, self.costly, self.source, self.target = inner, inner.costly, inner.source, inner.target

    def push(self, z: Any, _context: Any) -> Any:
        return _jax_maps["forward_and_log_det"](self.inner, z)

    def pull(self, x: Any, _context: Any) -> Any:
        return _jax_maps["inverse_and_log_det"](self.inner, x)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("first", NAMES)
def test_laws_of_every_pair(first: str, backend: str) -> None:
    for second in (pair[1] for pair in PAIRS if pair[0] == first):
        steps = [built(first).on(backend), built(second, seed=1).on(backend)]
        z = drawn(domain_of(first, second))
        if backend == "pyro":
            chain: Any = torch_bijectors.Chain(steps)
            x, log_det = mapped(chain, z, backend)
            jacobians = jacobian(chain, z, x, backend)
        else:
            chain = jax_bijectors.Chain(list(map(Compiled, steps)))
            image, total = chain.forward_and_log_det(jnp.asarray(z))
            x, log_det = np.asarray(image), np.asarray(total)
            middle, _ = mapped(steps[0], z, backend)
            jacobians = jacobian(steps[1], middle, x, backend) @ jacobian(steps[0], z, middle, backend)
        two_way = INSTANCES[first].two_way and INSTANCES[second].two_way
        back = None
        if two_way:
            value = torch.tensor(x) if backend == "pyro" else jnp.asarray(x)
            image, total = chain.inverse_and_log_det(value)
            back = (np.asarray(getattr(image, "detach", lambda image=image: image)()), np.asarray(total.tolist()))
        check_laws(z, x, log_det, jacobians, back)


@pytest.mark.parametrize("name", NAMES)
def test_domain_and_codomain(name: str) -> None:
    instance, made = INSTANCES[name], built(name)
    x, _ = mapped(made.torch, drawn(instance.domain), "pyro")
    assert made.torch.domain.check(torch.tensor(drawn(instance.domain))).all()
    assert made.torch.codomain.check(torch.tensor(x)).all()
    assert made.jax.domain(jnp.asarray(drawn(instance.domain))).all()
    assert made.jax.codomain(jnp.asarray(x)).all()
    assert made.torch.domain.event_dim == made.jax.domain.event_dim == 1
    outside = {"unit": 2.0, "positive": -1.0, "interval": 2.0}.get(instance.codomain)
    if outside is not None:
        assert not made.torch.codomain.check(torch.full((SIZE,), outside))
        assert not made.jax.codomain(jnp.full((SIZE,), outside))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    made, value = built(name), drawn(INSTANCES[name].domain)
    direction = f"{cheap(made.torch)}_and_log_det"
    if direction.startswith("inverse"):
        value, _ = mapped(made.torch, value, "pyro")
    weights = np.random.default_rng(1).standard_normal((ROWS, SIZE))

    def score(bijector: Any, value: Any, weights: Any) -> Any:
        image, log_det = getattr(bijector, direction)(value)
        return (image * weights).sum() + (log_det * weights[:, 0]).sum()

    leaves = dict(made.torch.named_parameters())
    made.torch.zero_grad()
    if leaves:
        score(made.torch, torch.tensor(value), torch.tensor(weights)).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().max() > 0 for leaf in leaves.values())
    gradients = jax.tree_util.tree_leaves_with_path(_compiled(jax.grad(score))(made.jax, value, weights))
    assert len(gradients) == len(leaves)
    for path, gradient in gradients:
        expected = leaves[jax.tree_util.keystr(path, simple=True, separator=".")].grad.numpy()
        assert np.abs(gradient - expected).max() <= 1e-11 * (1 + np.abs(expected).max())


def test_every_kind_has_an_instance() -> None:
    kinds = {step.kind for name in NAMES for step in built(name).declared.walk()}
    assert kinds | {"squeeze", "multiscale", "ode", "repeat", "inverse"} == set(BIJECTORS)


# ---- densities ------------------------------------------------------------------------------------------------------


def mass(made: Flow, low: Real, high: Real, points: int) -> tuple[float, float]:
    """The integral of the pushforward of a standard normal over a box by the trapezoidal rule, and its error estimate.

    The estimate is the change from every fourth point to every second one and on to all: the coarser rules' errors,
    which exceed that of the finest, at the knots of splines too.
    """
    axes = [np.linspace(a, b, points) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    with torch.no_grad():
        z, log_det = made.torch.inverse_and_log_det(torch.tensor(grid))
        log_p = (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).sum(-1) + log_det
    density = np.nan_to_num(np.exp(log_p.numpy()))

    def integral(step: int) -> float:
        value: Any = density[(slice(None, None, step),) * len(axes)]
        for axis in reversed(axes):
            value = np.trapezoid(value, axis[::step], axis=-1)
        return float(value)

    return integral(1), abs(integral(1) - integral(2)) + abs(integral(2) - integral(4))


@pytest.mark.parametrize(
    "written",
    ["affine()", "spline(bins=4, bound=2)", "[affine(), tanh()]", "[spline(bins=4, bound=2), softplus()]",
     "[affine(), sigmoid()]", "[spline(bins=3, bound=2), affine(), exp()]"],
)  # fmt: skip
def test_densities_on_the_line_integrate_to_one(written: str) -> None:
    made = flow(written, (1,), jitter=0.3)
    ends, _ = mapped(made.torch, np.array([[-8.0], [8.0]]), "pyro")
    inside = ends + np.array([[1.0], [-1.0]]) * 1e-12 * (ends[1] - ends[0])
    total, error = mass(made, inside[0], inside[1], 40001)
    assert error < 1e-3
    assert abs(total - 1) <= error + 1e-9


@pytest.mark.parametrize(
    "written",
    ["[coupling(mlp([4]), affine()), reverse(), coupling(mlp([4]), spline(bins=3, bound=3))]",
     "[autoregressive(made([6]), affine()), lu_linear()]", "[lu_linear(), inverse(planar())]",
     "[coupling(mlp([4]), spline(bins=3, bound=3)), actnorm(), sigmoid()]"],
)  # fmt: skip
def test_densities_on_the_plane_integrate_to_one(written: str) -> None:
    made = flow(written, (2,), jitter=0.3)
    circle = np.stack([f(np.linspace(0, 2 * math.pi, 721)) for f in (np.cos, np.sin)], -1)
    radii = np.linspace(0, 6.5, 40)[:, None, None]
    if "planar" in written:
        low, high = np.full(2, -14.0), np.full(2, 14.0)
    else:
        image, _ = mapped(made.torch, radii * circle, "pyro")
        low, high = image.min((0, 1)), image.max((0, 1))
    total, error = mass(made, low, high, 1201)
    assert error < 2e-3
    assert abs(total - 1) <= error + math.exp(-(6.5**2) / 2)


# ---- libraries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if INSTANCES[name].two_way])
def test_as_the_libraries_transform(name: str) -> None:
    made, instance = built(name), INSTANCES[name]
    z = drawn(instance.domain)
    x, log_det = mapped(made.torch, z, "pyro")
    zeros = torch.zeros(SIZE, dtype=torch.float64)
    torch_base, jax_base = {
        "unit": (pyro_dist.Uniform(zeros, 1.0), numpyro_dist.Uniform(np.zeros(SIZE), 1.0)),
        "positive": (pyro_dist.Gamma(zeros + 2, 1.0), numpyro_dist.Gamma(np.zeros(SIZE) + 2, 1.0)),
    }.get(instance.domain, (pyro_dist.Normal(zeros, 1.0), numpyro_dist.Normal(np.zeros(SIZE), 1.0)))
    expected = torch_base.log_prob(torch.tensor(z)).sum(-1).numpy() - log_det
    ours = pyro_dist.TransformedDistribution(torch_base.to_event(1), [made.torch])
    theirs = numpyro_dist.TransformedDistribution(jax_base.to_event(1), jax_bijectors.Chain([Compiled(made.jax)]))
    assert ours.event_shape == theirs.event_shape == (SIZE,)
    assert np.abs(ours.log_prob(torch.tensor(x)).detach().numpy() - expected).max() <= 1e-9
    assert np.abs(np.asarray(theirs.log_prob(jnp.asarray(x))) - expected).max() <= 1e-9
    draw = ours.sample((ROWS,))
    assert draw.shape == (ROWS, SIZE)
    assert torch.isfinite(ours.log_prob(draw)).all()


def test_a_remembered_draw_is_not_inverted_and_not_kept_too_long() -> None:
    made = flow("planar()", (2,)).torch
    base = pyro_dist.Normal(torch.zeros(2).double(), 1.0).to_event(1)
    density = pyro_dist.TransformedDistribution(base, [made])
    x = density.rsample()
    z = made.inv(x)
    expected = base.log_prob(z) - made.forward_and_log_det(z)[1]
    assert torch.equal(density.log_prob(x), expected)
    with torch.no_grad():
        made.bias += 1.0
    with pytest.raises(NotImplementedError, match="from base to data only"):
        density.log_prob(x)


# ---- context, shapes, dtypes ----------------------------------------------------------------------------------------

CONDITIONED = {
    "coupling": "coupling(mlp([4], activation=tanh), affine())",
    "spline": "[reverse(), coupling(mlp([4], activation=tanh), spline(bins=3))]",
    "density": "autoregressive(made([6], activation=tanh), affine())",
    "inverse": "[autoregressive(made([6], activation=tanh), affine(), direction=inverse), actnorm()]",
}


@pytest.mark.parametrize("name", CONDITIONED)
def test_context_conditions_and_broadcasts(name: str) -> None:
    made = flow(CONDITIONED[name], (SIZE,), context=2)
    generator = np.random.default_rng(0)
    z, c = generator.standard_normal((5, 1, SIZE)), generator.standard_normal((4, 2))
    x, log_det = (value.detach() for value in made.torch.forward_and_log_det(torch.tensor(z), torch.tensor(c)))
    y, other = _compiled(lambda made, z, c: made.forward_and_log_det(z, c))(made.jax, z, c)
    assert x.shape == y.shape == (5, 4, SIZE)
    assert log_det.shape == other.shape == (5, 4)
    assert np.abs(x.numpy() - y).max() <= 1e-12
    assert np.abs(log_det.numpy() - other).max() <= 1e-12
    single, _ = made.torch.forward_and_log_det(torch.tensor(z[2, 0]), torch.tensor(c[1]))
    assert torch.allclose(single, x[2, 1], rtol=0, atol=1e-13)
    assert (x[:, 0] - x[:, 1]).abs().max() > 1e-3
    back, _ = made.torch.inverse_and_log_det(x, torch.tensor(c))
    assert np.abs(back.detach().numpy() - z).max() <= 1e-11
    for transform in (made.torch.transform(torch.tensor(c)),):
        again = transform(torch.tensor(z))
        assert torch.equal(again, x)
        assert torch.equal(transform.log_abs_det_jacobian(torch.tensor(z), again), log_det)
    transform = made.jax.transform(jnp.asarray(c))
    assert np.abs(transform.log_abs_det_jacobian(z, y, transform.call_with_intermediates(z)[1]) - other).max() <= 1e-12


IMAGES = (
    "[squeeze(), actnorm(), coupling(mlp([4]), affine()), permute(), "
    "multiscale([lu_linear(), coupling(mlp([4]), affine())]), inverse(squeeze())]"
)


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (2, 2, 4)])
def test_images(shape: tuple[int, ...]) -> None:
    made = flow(IMAGES, shape)
    z = np.random.default_rng(0).standard_normal((ROWS, *shape))
    x, log_det = mapped(made.torch, z, "pyro")
    y, other = mapped(made.jax, z, "numpyro")
    assert x.shape == z.shape
    assert np.abs(x - y).max() <= 1e-12
    assert np.abs(log_det - other).max() <= 1e-12
    size = math.prod(shape)
    jacobians = jacobian(made.torch, z, x, "pyro").reshape(ROWS, size, size)
    back, log_back = mapped(made.torch, x, "pyro", "inverse_and_log_det")
    check_laws(z.reshape(ROWS, -1), x.reshape(ROWS, -1), log_det, jacobians, (back.reshape(ROWS, -1), log_back))


def test_squeeze_and_multiscale_place_elements() -> None:
    z = np.arange(16.0).reshape(1, 4, 4)
    squeezed = torch_bijectors.Squeeze((4, 4)).forward(torch.tensor(z))[0]
    assert torch.equal(squeezed, torch.nn.functional.pixel_unshuffle(torch.tensor(z), 2))
    assert np.array_equal(jax_bijectors.Squeeze((4, 4)).forward(z)[0], squeezed)
    inner = [torch_bijectors.Exp((2, 2))]
    x, log_det = torch_bijectors.Multiscale(inner, (4, 2)).forward_and_log_det(torch.ones(3, 4, 2))
    assert torch.equal(x[:, 2:], torch.ones(3, 2, 2))
    assert torch.allclose(x[:, :2], torch.full((3, 2, 2), math.e))
    assert torch.equal(log_det, torch.full((3,), 4.0))


def test_orders_leave_nothing_in_place() -> None:
    assert ordering("f.0", 2) == (1, 0)
    assert ordering("f.0", 1) == (0,)
    for size in range(3, 12):
        order = ordering("f.0", size)
        assert sorted(order) == list(range(size))
        assert all(place != at for at, place in enumerate(order))
    assert ordering("f.0", 11) != ordering("f.1", 11)


@pytest.mark.parametrize("name", NAMES)
def test_precision_and_device(name: str) -> None:
    made, z = built(name), drawn(INSTANCES[name].domain).astype(np.float32)
    single = anew(name).torch.float()
    x, log_det = single.forward_and_log_det(torch.tensor(z))
    assert x.dtype == log_det.dtype == torch.float32
    reference, _ = mapped(made.torch, z.astype(np.float64), "pyro")
    assert np.abs(x.detach().numpy() - reference).max() <= 1e-4 * (1 + np.abs(reference).max())
    abstract = single.to("meta").forward_and_log_det(torch.empty(ROWS, SIZE, device="meta"))
    assert [part.device.type for part in abstract] == ["meta", "meta"]
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), made.jax)
    shapes = jax.eval_shape(lambda made, z: made.forward_and_log_det(z), low, jnp.asarray(z))
    assert [part.dtype for part in shapes] == [jnp.float32, jnp.float32]


# ---- starts and ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["affine", "spline", "actnorm", "planar", "coupling_affine", "coupling_spline", "maf"])
def test_identity_at_the_start(name: str) -> None:
    made = anew(name, jitter=0.0)
    x, log_det = mapped(made.torch, drawn("real"), "pyro")
    assert np.abs(x - drawn("real")).max() <= 20 * EPS
    assert np.abs(log_det).max() <= 20 * EPS


def test_tails_of_a_spline_are_the_identity() -> None:
    made = flow("spline(bins=5, bound=2)", (SIZE,), jitter=1.0)
    far = np.array([[-9.0, 2.0, 3.0], [1e6, -2.0, -2.5]])
    for backend in BACKENDS:
        x, log_det = mapped(made.on(backend), far, backend)
        assert np.abs(x - far).max() <= 10 * EPS
        back, _ = mapped(made.on(backend), far, backend, "inverse_and_log_det")
        assert np.abs(back - far).max() <= 10 * EPS
    near, _ = mapped(made.torch, np.full((1, SIZE), 0.5), "pyro")
    assert np.abs(near - 0.5).max() > 1e-2
    assert np.isfinite(log_det).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_warm_start_normalizes(backend: str) -> None:
    written = "[actnorm(), coupling(mlp([4]), affine()), inverse([actnorm(), lu_linear()]), reverse(), actnorm()]"
    made = flow(written, (SIZE,)).on(backend)
    x = 3.0 + np.random.default_rng(0).standard_normal((50, SIZE)) @ np.array([[2.0, 1, 0], [0, 1, 0.5], [0, 0, 4]])
    array = torch.tensor if backend == "pyro" else jnp.asarray
    found = made.warm_start(array(x))
    assert set(found) == {f"{place}.{name}" for place in ("0", "2.0", "4") for name in ("shift", "log_scale")}
    if backend == "pyro":
        made.load_state_dict({**made.state_dict(), **found})
    else:
        paths, structure = jax.tree_util.tree_flatten_with_path(made)
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
        leaves = [found.get(name, leaf) for name, (_, leaf) in zip(names, paths, strict=True)]
        made = jax.tree.unflatten(structure, leaves)
    value = array(x)
    for step in reversed(made.steps):
        value = step.inverse(value)
        seen = np.asarray(value.tolist())
        if type(step).__name__ == "ActNorm":
            assert np.abs(seen.mean(0)).max() <= 1e-12
            assert np.abs(seen.var(0) - 1).max() <= 1e-12


def test_a_shared_network_stands_in_its_place() -> None:
    made = flow("coupling(mlp([4], activation=tanh), affine())", (SIZE,))
    z = torch.tensor(drawn("real"))
    inner = next(iter(made.torch.steps))
    shared = torch_bijectors.Chain(
        [torch_bijectors.Coupling(torch_bijectors.Shared("net"), torch_bijectors.Affine(), SIZE)]
    )
    assert not list(shared.parameters())
    bound = shared.bind({"net": inner.conditioner})
    assert torch.equal(bound.forward(z), made.torch.forward(z))
    assert bound is not shared
    other = jax_bijectors.Chain([jax_bijectors.Coupling(jax_bijectors.Shared("net"), jax_bijectors.Affine(), SIZE)])
    assert not jax.tree.leaves(other)
    again = other.bind({"net": made.jax.steps[0].conditioner})
    assert np.abs(again.forward(z.numpy()) - made.torch.forward(z).detach().numpy()).max() <= 1e-14
    assert made.torch.bind({}) is made.torch
    assert made.jax.bind({}) is made.jax
