"""The libraries' own estimators on emitted programs, run on random numbers that ours can be given too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.infer
import pyro
import pyro.infer
import torch
from numpy.typing import NDArray
from numpyro import handlers
from pyro import poutine
from pyro.poutine.messenger import Messenger

from dgmppl.compiler import Compilation
from dgmppl_numpyro.programs import canonical
from tests.support import Values, noise_for


class Estimate(NamedTuple):
    """What a library's estimator says.

    Attributes:
        elbo: of the whole batch, nats.
        noise: the standard normals behind the guide's draws, `[particles, data, *event]` by site.
        gradient: of the elbo, by canonical name with `_` for `.`; empty unless asked for.
    """

    elbo: float
    noise: Values
    gradient: Values


def estimate(
    compiled: Compilation,
    name: str,
    values: Values,
    batch: Mapping[str, NDArray[Any]],
    *,
    particles: int = 1,
    gradient: bool = False,
    seed: int = 0,
    **sizes: int,
) -> Estimate:
    """The library's estimator of that name on the emitted `model` and `guide`; `sizes` may hold `rows`."""
    run = _pyro if compiled.backend == "pyro" else _numpyro
    return run(compiled, name, values, batch, particles, gradient, seed, sizes)


# ---- Pyro -----------------------------------------------------------------------------------------------------------


class Reparameterized(Messenger):  # type: ignore[misc]
    """Draws every Normal site as loc + scale * noise, whatever enumerated or particle axes it has.

    The message goes on to the plates further out, which still expand the distribution.
    """

    def __init__(self, noise: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.noise = noise

    def _pyro_sample(self, message: Any) -> None:
        if message["name"] in self.noise and not message["is_observed"]:
            base = normal(message["fn"])
            message["value"] = base.loc + base.scale * self.noise[message["name"]]


def normal(distribution: Any) -> Any:
    """The Normal under `Independent`, `ExpandedDistribution` and masks."""
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return distribution


def tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """Arrays as tensors of the same dtype."""
    return {name: torch.as_tensor(np.asarray(array)) for name, array in arrays.items()}


def nothing(*_data: object, **_sizes: object) -> None:
    """A guide without sites."""


def _pyro(
    compiled: Compilation,
    name: str,
    values: Values,
    batch: Mapping[str, NDArray[Any]],
    particles: int,
    gradient: bool,
    seed: int,
    sizes: Mapping[str, int],
) -> Estimate:
    model, guide = compiled.executable.library_model(values), compiled.executable.library_guide(values)
    noise = noise_of(compiled, batch, particles, seed)
    given = tensors({entry: array if particles > 1 else array[0] for entry, array in noise.items()})
    held: Callable[..., Any] = Reparameterized(given)(guide) if guide is not None else nothing
    kind = getattr(pyro.infer, name)
    elbo = kind(num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=1)
    data = tensors(batch)
    if not gradient:
        return Estimate(-float(elbo.loss(model, held, **data, **sizes)), noise, {})
    loss = elbo.loss_and_grads(model, held, **data, **sizes)
    slopes = {
        path.replace(".", "_"): -parameter.grad.numpy()
        for part in (model, guide)
        for path, parameter in part.named_parameters()
        if parameter.grad is not None
    }
    return Estimate(-float(loss), noise, slopes)


def noise_of(compiled: Compilation, batch: Mapping[str, NDArray[Any]], particles: int, seed: int) -> Values:
    """Standard normals for every continuous latent of the guide."""
    function = compiled.module.function("log_weights")
    return {} if function is None else noise_for(function, len(next(iter(batch.values()))), particles, seed)


# ---- NumPyro --------------------------------------------------------------------------------------------------------


class _Recorder:
    """A guide that tells the standard normals behind its draws, once per particle, under any transformation."""

    def __init__(self, guide: Callable[..., Any]) -> None:
        self.guide = guide
        self.drawn: list[dict[str, NDArray[Any]]] = []

    def __call__(self, *arguments: Any, **keywords: Any) -> None:
        sites = handlers.trace(self.guide).get_trace(*arguments, **keywords)
        latent = {
            name: (site["value"], normal(site["fn"]).loc, normal(site["fn"]).scale)
            for name, site in sites.items()
            if site["type"] == "sample" and hasattr(normal(site["fn"]), "loc")
        }
        noise = {name: (value - loc) / scale for name, (value, loc, scale) in latent.items()}
        # As words: a callback's thread need not have float64 switched on.
        jax.debug.callback(
            self._keep, {name: jax.lax.bitcast_convert_type(entry, jnp.uint32) for name, entry in noise.items()}
        )

    def _keep(self, noise: Mapping[str, Any]) -> None:
        self.drawn.append({name: np.array(words).view(np.float64)[..., 0] for name, words in noise.items()})


def _numpyro(
    compiled: Compilation,
    name: str,
    values: Values,
    batch: Mapping[str, NDArray[Any]],
    particles: int,
    gradient: bool,
    seed: int,
    sizes: Mapping[str, int],
) -> Estimate:
    with jax.enable_x64(True):
        model, guide = compiled.executable.library_model(values), compiled.executable.library_guide(values)
        recorder = _Recorder(guide or nothing)
        elbo = getattr(numpyro.infer, name)(num_particles=particles)
        data = {entry: jnp.asarray(array) for entry, array in batch.items()}

        @jax.jit
        def registered() -> dict[str, Any]:
            parts = (model, guide) if guide is not None else (model,)
            traces = [handlers.trace(handlers.seed(part, 0)).get_trace(**data, **sizes) for part in parts]
            nodes = [node for one in traces for node in one.items()]
            return {site: node["value"] for site, node in nodes if node["type"] == "param"}

        def loss(parameters: Any) -> Any:
            return elbo.loss(jax.random.key(seed), parameters, model, recorder, **data, **sizes)

        slopes, start = {}, registered()
        if gradient:
            value, found = jax.jit(jax.value_and_grad(loss))(start)
            for group, tree in found.items():
                for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                    title = ".".join([group.removesuffix("$params"), *([canonical(path)] if path else [])])
                    slopes[title.replace(".", "_")] = -np.asarray(leaf)
        else:
            value = jax.jit(loss)(start)
        jax.effects_barrier()
    assert len(recorder.drawn) == particles
    noise = {site: np.stack([draw[site] for draw in recorder.drawn]) for site in recorder.drawn[0]}
    return Estimate(-float(value), noise, slopes)


# ---- sites ----------------------------------------------------------------------------------------------------------


class Sites(NamedTuple):
    """A program run with its Normal latents at given values: distributions and values by site."""

    densities: dict[str, Any]
    values: dict[str, Any]


def sites(
    compiled: Compilation, part: str, values: Values, batch: Mapping[str, NDArray[Any]], latents: Values
) -> Sites:
    """The sample sites of the emitted `model` or `guide` with its latents held at given values."""
    program = getattr(compiled.executable, f"library_{part}")(values)
    if compiled.backend == "pyro":
        held = poutine.condition(program, data=tensors(latents))
        nodes = poutine.trace(held).get_trace(**tensors(batch)).nodes
    else:
        with jax.enable_x64(True):
            held = handlers.seed(handlers.substitute(program, data=dict(map(_array, latents.items()))), 0)
            nodes = handlers.trace(held).get_trace(**dict(map(_array, batch.items())))
    kept = {
        name: node for name, node in nodes.items() if node["type"] == "sample" and hasattr(node["fn"], "batch_shape")
    }
    return Sites(
        {name: node["fn"] for name, node in kept.items()}, {name: node["value"] for name, node in kept.items()}
    )


def _array(item: tuple[str, NDArray[Any]]) -> tuple[str, Any]:
    return item[0], jnp.asarray(item[1])


def divergence(backend: str, posterior: Any, prior: Any) -> NDArray[Any]:
    """KL(posterior || prior), one number per row: the library's closed form, or the sum over the states."""
    if posterior.has_enumerate_support:
        with jax.enable_x64(True):
            states = posterior.enumerate_support()
        logs, other = (log_prob(backend, density, states) for density in (posterior, prior))
        return (np.exp(logs) * (logs - other)).sum(0)
    if backend == "pyro":
        return torch.distributions.kl_divergence(posterior, prior).detach().numpy()
    with jax.enable_x64(True):
        return np.asarray(numpyro.distributions.kl_divergence(posterior, prior))


def log_prob(backend: str, density: Any, value: Any) -> NDArray[Any]:
    """The library's log density, one number per row."""
    if backend == "pyro":
        return density.log_prob(value).detach().numpy()
    with jax.enable_x64(True):
        return np.asarray(density.log_prob(value))
