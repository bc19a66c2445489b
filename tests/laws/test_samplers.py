"""Laws of the Markov chains: what they leave invariant, that both runtimes agree on the same noise, known log Z."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats

import dgmppl_numpyro.annealing
import dgmppl_numpyro.samplers
import dgmppl_pyro.annealing
import dgmppl_pyro.samplers

PRECISION = np.array([[2.0, 0.6], [0.6, 1.0]])
COVARIANCE = np.linalg.inv(PRECISION)
COUPLING = np.array([[0.0, 0.8, -0.5], [0.8, 0.0, 0.4], [-0.5, 0.4, 0.0]])
FIELD = np.array([0.3, -0.6, 0.2])
STATES = np.array(list(itertools.product(range(3), repeat=3)), float)
WEIGHTS, VISIBLE, HIDDEN = np.array([[1.0, -0.7], [0.5, 0.9], [-0.8, 0.3]]), np.array([0.2, -0.3, 0.1]), np.zeros(2)


def gaussian(x: Any) -> Any:
    """log p~ of N(0, PRECISION^-1)."""
    return -0.5 * (x[..., 0] ** 2 * 2.0 + 1.2 * x[..., 0] * x[..., 1] + x[..., 1] ** 2)


def wide(x: Any) -> Any:
    """log of N(0, 2 I), normalized."""
    return -0.25 * (x**2).sum(-1) - math.log(4.0 * math.pi)


def potts(x: Any) -> Any:
    """log p~ on {0, 1, 2}^3, a quadratic form."""
    return 0.5 * sum(COUPLING[i, j] * x[..., i] * x[..., j] for i in range(3) for j in range(3)) + sum(
        FIELD[i] * x[..., i] for i in range(3)
    )


def uniform_potts(x: Any) -> Any:
    """The uniform distribution on {0, 1, 2}^3."""
    return 0.0 * x[..., 0] - 3 * math.log(3.0)


def machine(v: Any, h: Any) -> Any:
    """log p~ of a restricted Boltzmann machine with three visible and two hidden units."""
    pair = sum(WEIGHTS[i, j] * v[..., i] * h[..., j] for i in range(3) for j in range(2))
    return pair + sum(VISIBLE[i] * v[..., i] for i in range(3))


def numpy_of(log_p: Callable[..., Any], *points: np.ndarray) -> np.ndarray:
    return np.asarray(log_p(*points))


PROBABILITIES = np.exp(numpy_of(potts, STATES))
PROBABILITIES /= PROBABILITIES.sum()
BITS = np.array(list(itertools.product(range(2), repeat=5)), float)
JOINT = numpy_of(machine, BITS[:, :3], BITS[:, 3:])


def noise(seed: int, *entries: tuple[str, tuple[int, ...]]) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    makers = {"normal": generator.standard_normal, "uniform": generator.uniform, "gumbel": generator.gumbel}
    return [makers[kind](size=shape) for kind, shape in entries]


def runtime(package: Any, name: str) -> Callable[..., Any]:
    """A function of a backend by its place: `annealing.hmc`; of `samplers` where no module is named."""
    module, _, function = name.rpartition(".")
    return getattr(getattr(package, module or "samplers"), function)


def on_jax(name: str, functions: tuple[Any, ...], start: np.ndarray, random: list[np.ndarray], **options: Any) -> Any:
    with jax.enable_x64(True):
        arrays = [jnp.asarray(entry) for entry in random]
        sampler = runtime(dgmppl_numpyro, name)
        run = jax.jit(lambda start, arrays: sampler(*functions, start, 1, *arrays, **options))
        return jax.tree.map(np.asarray, run(jnp.asarray(start), arrays))


def on_torch(name: str, functions: tuple[Any, ...], start: np.ndarray, random: list[np.ndarray], **options: Any) -> Any:
    tensors = [torch.tensor(entry) for entry in random]
    result = runtime(dgmppl_pyro, name)(*functions, torch.tensor(start), 1, *tensors, **options)
    return tuple(one.numpy() for one in result) if isinstance(result, tuple) else result.numpy()


# name -> (functions, noise of one run, options); chains and steps stand for B and S.
CASES: dict[str, Any] = {
    "langevin": ((gaussian,), (("normal", "BS2"),), {"step_size": 0.1}),
    "langevin, tempered": ((gaussian,), (("normal", "BS2"),), {"step_size": 0.1, "noise": 0.05, "clip": 0.7}),
    "mala": ((gaussian,), (("normal", "BS2"), ("uniform", "BS")), {"step_size": 0.3}),
    "hmc": ((gaussian,), (("normal", "BS2"), ("uniform", "BS")), {"step_size": 0.4, "leapfrog": 4}),
    "gibbs": ((potts,), (("gumbel", "BS33"),), {"states": 3}),
    "gibbs_with_gradients": ((potts,), (("gumbel", "BS9"), ("uniform", "BS")), {"states": 3}),
    "block_gibbs": ((machine,), (("uniform", "BS3"), ("uniform", "BS2")), {"hidden_rank": 1, "states": (2, 2)}),
    "annealing.hmc": (
        (wide, gaussian),
        (("normal", "BS2"), ("uniform", "BS"), ("uniform", "BS")),
        {"leapfrog": 3, "reverse": False},
    ),
    "annealing.gibbs_with_gradients": (
        (uniform_potts, potts),
        (("gumbel", "BS9"), ("uniform", "BS")),
        {"states": 3, "reverse": True},
    ),
    "annealing.block_gibbs": (
        (machine,),
        (("uniform", "BS3"), ("uniform", "BS2"), ("uniform", "B2")),
        {"hidden_rank": 1, "states": (2, 2), "reverse": False},
    ),
}


def drawn(case: str, chains: int, steps: int, seed: int = 0) -> list[np.ndarray]:
    sizes = {"B": chains, "S": steps}
    entries = [(kind, tuple(sizes.get(axis) or int(axis) for axis in axes)) for kind, axes in CASES[case][1]]
    return noise(seed, *entries)


def begin(case: str, chains: int, seed: int = 1) -> np.ndarray:
    """Exact draws of what the chain should leave invariant (for langevin too)."""
    generator = np.random.default_rng(seed)
    if "gradients" in case or case == "gibbs":
        return STATES[generator.choice(len(STATES), size=chains, p=PROBABILITIES)]
    if "block" in case:
        weights = np.exp(JOINT - np.logaddexp.reduce(JOINT))
        return BITS[generator.choice(len(BITS), size=chains, p=weights)][:, :3]
    return generator.multivariate_normal(np.zeros(2), COVARIANCE, size=chains)


@pytest.mark.parametrize("case", CASES)
def test_both_runtimes_take_the_same_path_on_the_same_noise(case: str) -> None:
    functions, _, options = CASES[case]
    name, random, start = case.partition(",")[0], drawn(case, 7, 12), begin(case, 7)
    one, two = on_jax(name, functions, start, random, **options), on_torch(name, functions, start, random, **options)
    for first, second in zip(*((value if isinstance(value, tuple) else (value,)) for value in (one, two)), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)
    end = one[0] if isinstance(one, tuple) else one
    assert not np.allclose(end, start)


@pytest.mark.parametrize("case", ["mala", "hmc"])
def test_adjusted_chains_leave_a_gaussian_invariant(case: str) -> None:
    functions, _, options = CASES[case]
    chains = 20_000
    end = on_jax(case, functions, begin(case, chains), drawn(case, chains, 5), **options)
    # The variance of x x^T of a Gaussian: 4 standard errors for each of the three distinct entries.
    found = end.T @ end / chains
    error = np.sqrt((np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)) + COVARIANCE**2) / chains)
    assert (np.abs(found - COVARIANCE) < 4 * error).all()
    assert stats.kstest(end[:, 0] / math.sqrt(COVARIANCE[0, 0]), "norm").pvalue > 1e-4


@pytest.mark.parametrize("case", ["gibbs", "gibbs_with_gradients"])
def test_discrete_chains_leave_their_density_invariant(case: str) -> None:
    functions, _, options = CASES[case]
    chains = 20_000
    end = on_jax(case, functions, begin(case, chains), drawn(case, chains, 5), **options)
    counts = np.bincount((end @ [9, 3, 1]).astype(int), minlength=27)
    assert stats.chisquare(counts, chains * PROBABILITIES).pvalue > 1e-4


def test_gibbs_with_gradients_reaches_its_density_from_elsewhere() -> None:
    functions, _, options = CASES["gibbs_with_gradients"]
    chains = 10_000
    end = on_jax(
        "gibbs_with_gradients", functions, np.zeros((chains, 3)), drawn("gibbs_with_gradients", chains, 60), **options
    )
    counts = np.bincount((end @ [9, 3, 1]).astype(int), minlength=27)
    assert stats.chisquare(counts, chains * PROBABILITIES).pvalue > 1e-4


def test_block_gibbs_leaves_the_visible_marginal_invariant() -> None:
    functions, _, options = CASES["block_gibbs"]
    chains = 20_000
    end = on_jax("block_gibbs", functions, begin("block_gibbs", chains), drawn("block_gibbs", chains, 3), **options)
    counts = np.bincount((end @ [4, 2, 1]).astype(int), minlength=8)
    marginal = np.exp(np.logaddexp.reduce(JOINT.reshape(8, 4), 1) - np.logaddexp.reduce(JOINT))
    assert stats.chisquare(counts, chains * marginal).pvalue > 1e-4


def test_unadjusted_langevin_has_its_known_biased_variance() -> None:
    step_size, chains = 0.5, 40_000
    (random,) = noise(3, ("normal", (chains, 60, 1)))
    end = on_jax("langevin", (lambda x: -0.5 * (x**2).sum(-1),), np.zeros((chains, 1)), [random], step_size=step_size)
    variance = 1.0 / (1.0 - step_size / 2.0)
    error = variance * math.sqrt(2.0 / chains)
    assert abs(np.mean(end**2) - variance) < 4 * error
    assert abs(np.mean(end**2) - 1.0) > 10 * error


@pytest.mark.parametrize(("rows", "size"), [(6, 6), (6, 20), (5, 13)])
def test_every_row_takes_a_chain_of_its_own_and_gives_it_back(rows: int, size: int) -> None:
    (uniform,) = noise(0, ("uniform", (4000, rows)))
    for each in uniform[:20]:
        places = np.asarray(dgmppl_numpyro.samplers.slots(jnp.asarray(each), size))
        np.testing.assert_array_equal(places, dgmppl_pyro.samplers.slots(torch.tensor(each), size).numpy())
        assert len(set(places.tolist())) == rows
        buffer, chains = np.arange(2.0 * size).reshape(size, 2), -np.ones((rows, 2))
        expected = buffer.copy()
        expected[places] = chains
        one = dgmppl_numpyro.samplers.put(jnp.asarray(buffer), jnp.asarray(places), jnp.asarray(chains))
        two = dgmppl_pyro.samplers.put(torch.tensor(buffer), torch.tensor(places).long(), torch.tensor(chains))
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(two.numpy(), expected)
    chosen = np.concatenate([np.asarray(dgmppl_numpyro.samplers.slots(jnp.asarray(each), size)) for each in uniform])
    # Row b takes each of its own chains with one over their number; no chain is left out.
    bounds = np.arange(rows + 1) * size // rows
    expected = np.repeat(len(uniform) / np.diff(bounds), np.diff(bounds))
    assert stats.chisquare(np.bincount(chosen, minlength=size), expected).pvalue > 1e-4


def log_z(case: str) -> float:
    if "hmc" in case:
        return math.log(2.0 * math.pi) + 0.5 * math.log(np.linalg.det(COVARIANCE))
    return float(np.logaddexp.reduce(JOINT if "block" in case else numpy_of(potts, STATES)))


def base_draws(case: str, chains: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if "hmc" in case:
        return math.sqrt(2.0) * generator.standard_normal((chains, 2))
    return generator.integers(2 if "block" in case else 3, size=(chains, 3)).astype(float)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("annealing")])
def test_annealed_weights_are_unbiased(case: str, reverse: bool) -> None:
    functions, _, options = CASES[case]
    chains, steps = 20_000, 8
    start = begin(case, chains) if reverse else base_draws(case, chains, 4)
    _, log_weights = on_jax(case, functions, start, drawn(case, chains, steps), **{**options, "reverse": reverse})
    ratios = np.exp((log_weights - log_z(case)) * (-1.0 if reverse else 1.0))
    assert abs(ratios.mean() - 1.0) < 4 * ratios.std(ddof=1) / math.sqrt(chains)
    # Jensen: the mean log-weight lies on its side of log Z, and few temperatures leave it well off.
    off = log_weights.mean() - log_z(case)
    assert (off > 0) if reverse else (off < 0)
