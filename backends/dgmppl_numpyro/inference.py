"""Inference engines for parameters with priors, by name."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.backend import Arrays, Device, Draws, require_engine
from dgmppl.ir.expressions import Call
from dgmppl.ir.option_calls import bind, spell
from dgmppl.ir.options import ENGINES
from dgmppl_numpyro import devices, langevin, mcmc, modes, smc, variational
from dgmppl_numpyro.posterior import Posterior, Progress
from dgmppl_numpyro.program import Program


def infer(
    program: Program, engine: Call, data: Arrays, *, seed: int, device: Device, progress: Progress | None
) -> Draws:
    """Runs an engine on the whole training data.

    Args:
        program: the emitted program.
        engine: `nuts(...)`, `hmc(...)`, `svi(...)`, `laplace(...)`, `map(...)`, `smc(...)`,
            `sgld(...)`, `sghmc(...)`.
        data: the training data, rows first.
        seed: of everything random.
        device: where and how precisely.
        progress: is called now and then with (done, total, text).

    Raises:
        RunError: the engine or one of its options is unknown, or the engine failed; the message says how.
        UnsupportedError: the engine needs local latents summed or integrated out.
    """
    options = bind(engine, ENGINES, "inference engine")
    name = engine.function
    if name == "svi" and variational.family(options["guide"])[0] == "laplace":
        name, options = "laplace", {argument: options[argument] for argument in ("steps", "draws")}
    require_engine("numpyro", replace(engine, function=name), program.module)
    with devices.scope(device):
        posterior = Posterior(program, data, seed=seed, everything=name == "map")
        match name:
            case "nuts" | "hmc":
                draws = mcmc.run(posterior, name, options, seed, progress)
            case "svi":
                draws = variational.run(posterior, options, seed, progress)
            case "laplace":
                draws = modes.laplace(posterior, options, seed, progress)
            case "map":
                draws = modes.maximum(posterior, options, seed, progress)
            case "smc":
                draws = smc.run(posterior, options, seed, progress)
            case _:
                draws = langevin.run(posterior, name, options, seed, progress)
    return replace(draws, engine=spell(engine, options), sampler=name)
