"""Inference engines for parameters with priors: `infer: nuts(...) | hmc | svi(...) | laplace() | map()`."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.backend import Arrays, Device, Draws, require_engine
from dgmppl.ir.expressions import Call
from dgmppl.ir.option_calls import bind, spell
from dgmppl.ir.options import ENGINES
from dgmppl_pyro import declared_guides, mcmc, modes, variational
from dgmppl_pyro.devices import limit_threads, scope
from dgmppl_pyro.posterior import Posterior, Progress, has_joint
from dgmppl_pyro.program import Program


def infer(
    program: Program, engine: Call, data: Arrays, *, seed: int, device: Device, progress: Progress | None
) -> Draws:
    """Runs an engine on all data.

    Args:
        program: the emitted program.
        engine: `nuts(warmup=1000, ...)` and so on.
        data: all data columns, rows first.
        seed: of start values and chains.
        device: where and how precisely; without `threads`, on one: small tensors lose time on more.
        progress: called now and then with what is done, the total and a line about the state.

    Raises:
        RunError: an option is unknown, or no finite starting point was found.
        UnsupportedError: the engine is the other backend's, or needs local latents summed or integrated out.
    """
    options = bind(engine, ENGINES, "inference engine")
    name = engine.function
    if name == "svi" and variational.family(options["guide"])[0] == "laplace":
        name, options = "laplace", {argument: options[argument] for argument in ("steps", "draws")}
    require_engine("pyro", replace(engine, function=name), program.module)
    declared = name == "svi" and not has_joint(program)
    noncentered = tuple(options.get("reparameterize") or ())
    with limit_threads(device.threads or 1), scope(replace(device, threads=None)):
        posterior = Posterior(
            program, data, seed=seed, device=device, everything=name == "map", reparameterize=noncentered
        )
        match name:
            case "svi" if declared:
                draws = declared_guides.run(posterior, options, seed, progress)
            case "svi":
                draws = variational.run(posterior, options, seed, progress)
            case "laplace":
                draws = modes.laplace(posterior, options, seed, progress)
            case "map":
                draws = modes.maximum(posterior, options, seed, progress)
            case _:
                draws = mcmc.run(posterior, name, options, seed, progress)
    return replace(draws, engine=spell(engine, options), sampler=name)
