"""Emitted functions of the same kernel module: equal on both backends in float64, and equal to the libraries' ELBOs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pyro
import pytest
import torch

from dgmppl.compiler import compile_spec
from dgmppl.ir.kernel import Module
from dgmppl.ir.parameters import initial_values
from dgmppl.ir.types import Support
from dgmppl_numpyro.emit import emit as emit_numpyro
from dgmppl_pyro.emit import emit as emit_pyro
from tests.kernels import load, mixture, vae
from tests.support import BACKENDS, SPECS, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROWS = 20


def values(module: Module) -> dict[str, np.ndarray]:
    return initial_values(module.parameters, seed=3)


def for_torch(module: Module, space: dict) -> dict:
    from dgmppl_pyro import constraints

    found, result = values(module), {}
    for group in module.groups:
        if group.kind == "network":
            result[group.name] = space["NETWORKS"][group.name]().double()
            prefix = f"{group.name}."
            state = {
                name.removeprefix(prefix): torch.tensor(value)
                for name, value in found.items()
                if name.startswith(prefix)
            }
            result[group.name].load_state_dict(state)
        else:
            result[group.name] = constraints.inverse(group.support, torch.tensor(found[group.name]))
    return result


def for_jax(module: Module, space: dict) -> dict:
    from dgmppl_numpyro import constraints
    from dgmppl_numpyro.programs import canonical

    found, result = values(module), {}
    for group in module.groups:
        if group.kind == "network":
            fill = lambda path, _, name=group.name: jnp.asarray(found[f"{name}.{canonical(path)}"])  # noqa: E731
            result[group.name] = jax.tree_util.tree_map_with_path(fill, space["NETWORKS"][group.name]())
        else:
            result[group.name] = constraints.inverse(group.support, jnp.asarray(found[group.name]))
    return result


def noise_of(space: dict, function: str, particles: int = 3) -> dict[str, np.ndarray]:
    drawn = space["noise"](torch.Generator().manual_seed(5), function, ROWS, particles, dtype=torch.float64)
    return {name: entry.numpy() for name, entry in drawn.items()} if function in space["NOISE"] else {}


@pytest.mark.parametrize("module", [vae(), vae(particles=4), mixture()], ids=["vae", "iwae", "gmm"])
def test_every_function_is_equal_on_both_backends(module: Module) -> None:
    generator = np.random.default_rng(2)
    x = (
        generator.integers(0, 2, (ROWS, 6))
        if "encoder" in dict(values(module)) or module.program.name == "vae"
        else generator.normal(size=(ROWS, 4))
    )
    torch_space, jax_space = load(emit_pyro(module)), load(emit_numpyro(module))
    with jax.enable_x64(True):
        first, second = for_torch(module, torch_space), for_jax(module, jax_space)
        for function in module.functions:
            if function.kind == "program":
                continue
            noise = noise_of(torch_space, function.name) if function.noise else {}
            torch_noise, jax_noise = (
                {k: torch.tensor(v) for k, v in noise.items()},
                {k: jnp.asarray(v) for k, v in noise.items()},
            )
            torch_batch, jax_batch = {"x": torch.tensor(x)}, {"x": jnp.asarray(x)}
            if function.kind == "loss":
                one = torch_space[function.name](first, {}, {}, torch_batch, torch_noise, 0)
                two = jax_space[function.name](second, {}, {}, jax_batch, jax_noise, 0)
                one, two = {"loss": one[0], **one[2]}, {"loss": two[0], **two[2]}
            else:
                extra = [noise] if function.noise or function.kind == "sample" else []
                one = torch_space[function.name](first, torch_batch, *([torch_noise] if extra else []))
                two = jax_space[function.name](second, jax_batch, *([jax_noise] if extra else []))
            if not isinstance(one, dict):
                one, two = {"value": one}, {"value": two}
            for name in one:
                np.testing.assert_allclose(one[name].detach().numpy(), two[name], rtol=1e-9, atol=1e-9)


def test_the_loss_is_pyros_own_elbo_on_the_same_draw() -> None:
    module = vae()
    space = load(emit_pyro(module))
    parameters = for_torch(module, space)
    x = torch.tensor(np.random.default_rng(2).integers(0, 2, (ROWS, 6)), dtype=torch.float64)
    noise = {"z": torch.tensor(noise_of(space, "loss_model")["z"])}
    loss = space["loss_model"](parameters, {}, {}, {"x": x}, noise, 0)[0]
    program = space["Program"](parameters)
    loc, scale = parameters["encoder"](x)
    fixed = pyro.poutine.condition(program.guide, data={"z": loc + scale * noise["z"]})
    trace = pyro.poutine.trace(fixed).get_trace(x)
    trace.nodes["z"]["is_observed"] = False
    replayed = pyro.poutine.trace(pyro.poutine.replay(program.model, trace=trace)).get_trace(x)
    kl = torch.distributions.kl_divergence(
        trace.nodes["z"]["fn"].base_dist, torch.distributions.Normal(loc * 0, 1.0)
    ).sum()
    replayed.compute_log_prob()
    elbo = replayed.nodes["x"]["log_prob_sum"] - kl
    assert loss.item() * ROWS == pytest.approx(-elbo.item(), rel=1e-10)


def test_the_mixture_is_numpyros_own_density_summed_over_k() -> None:
    module = mixture()
    space = load(emit_numpyro(module))
    with jax.enable_x64(True):
        parameters = for_jax(module, space)
        x = jnp.asarray(np.random.default_rng(2).normal(size=(ROWS, 4)))
        model = partial(space["model"], parameters, rows=ROWS)
        joint = [numpyro.infer.util.log_density(model, (x,), {}, {"k": jnp.full(ROWS, k)})[1] for k in range(3)]
        terms = [trace["k"]["fn"].log_prob(k) + trace["x"]["fn"].log_prob(x) for k, trace in enumerate(joint)]
        np.testing.assert_allclose(
            jax.nn.logsumexp(jnp.stack(terms), 0), space["log_prob"](parameters, {"x": x}), rtol=1e-10
        )


EXACT = (
    "made", "transformer", "pixelcnn", "nsf", "realnvp", "maf", "conditional_flow", "ffjord", "flow_matching", "hmm",
    "deep_markov", "vae_flow_prior", "vae_ar_decoder", "vae_iaf",
)  # fmt: skip
SMALLER = {
    "made": ["networks.net=made([16, 16])"],
    "transformer": ["data.x.shape=[12]", "networks.net=causal_transformer(layers=2, heads=2, width=8)"],
    "pixelcnn": ["networks.net=causal_conv(layers=2, width=6, kernel=3)"],
}
# An adaptive solver takes other steps where rounding differs: ten times its tolerance.
ADAPTIVE = {"ffjord": 1e-4, "flow_matching": 1e-4}


def _drawn(support: Support, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(0)
    match support.kind:
        case "binary":
            return generator.integers(0, 2, shape)
        case "integer":
            return generator.integers(0, support.size, shape)
        case "unit":
            return generator.uniform(size=shape)
        case _:
            return generator.standard_normal(shape)


@pytest.mark.parametrize("name", EXACT)
def test_canonical_specs_of_exact_likelihoods_are_equal_on_both_backends(name: str) -> None:
    """Every emitted function with the same parameters and noise; every gradient of the loss."""
    compiled = {
        backend: compile_spec(SPECS / f"{name}.yaml", backend=backend, overrides=SMALLER.get(name, ()))
        for backend in BACKENDS
    }
    first = compiled["pyro"]
    parameters = start(first)
    columns = first.program.columns
    batch = {column: _drawn(kind.support, (4, *kind.shape)) for column, kind in columns.items()}
    latents = {site.name: _drawn(Support("real"), (4, *site.typed.shape)) for site in first.program.latents}
    near = ADAPTIVE.get(name, 1e-9)
    for function in first.module.functions:
        if function.kind == "program" or function.name == "complete":
            continue
        noise = noise_for(function, 4, particles=2)
        if function.kind == "loss":
            player = function.name.removeprefix("loss_")
            one, two = (
                compiled[backend].executable.loss(player, parameters, batch, noise=noise, gradient=True)[:2]
                for backend in BACKENDS
            )
            results = [{"loss": np.asarray(one[0]), **one[1]}, {"loss": np.asarray(two[0]), **two[1]}]
        else:
            read = {**batch, **latents} if function.name == "decode" else batch
            given = {column: read[column] for column, _ in function.columns}
            results = [
                compiled[backend].executable.call(function.name, parameters, given, rows=4, particles=2, noise=noise)
                for backend in BACKENDS
            ]
        for entry in results[0]:
            # An array's entries are sums of terms as large as its largest: rounding is relative to that.
            close = near * max(1.0, np.abs(results[0][entry]).max())
            np.testing.assert_allclose(
                results[0][entry], results[1][entry], rtol=near, atol=close, err_msg=function.name
            )
