"""Stochastic variational inference: Pyro's guides and ELBO on the straight-line posterior, one fused optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro.infer import Trace_ELBO, autoguide
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from dgmppl.backend import Array, Draws
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call
from dgmppl.ir.options import AUTO, GUIDES
from dgmppl.ir.settings import Train
from dgmppl_pyro.optimizers import optimizers, schedule_factor
from dgmppl_pyro.options import bind
from dgmppl_pyro.posterior import Posterior, Progress
from dgmppl_pyro.program import mix

BLOCKS = 20
# The standard deviation of a guide's factors at the start, as in Pyro.
SCALE = 0.1


def family(guide: object) -> tuple[str, dict[str, Any]]:
    """The family that `auto`, `auto(low_rank)` or `auto(low_rank(rank=4))` names, with its options.

    Raises:
        RunError: there is no such family.
    """
    call = guide if isinstance(guide, Call) else Call(str(guide))
    chosen = bind(call, AUTO, "guide")["family"]
    inner = chosen if isinstance(chosen, Call) else Call(str(chosen))
    return inner.function, bind(inner, GUIDES, "guide family")


def run(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """Maximizes the ELBO over the guide, and over parameters without a prior, and draws from the guide.

    Returns:
        Draws with log p and log q of each over constrained values, and the ELBO per step, in nats.

    Raises:
        RunError: the family is unknown, or the ELBO became infinite or NaN.
    """
    with _isolated(mix(seed)):
        model = _model(posterior)
        guide = _guide(model, posterior, *family(options["guide"]))
        trace = _maximize(model, guide, posterior, options, seed, progress)
        with torch.no_grad():
            fitted = guide.get_posterior()
            draws = fitted.sample((int(options["draws"]),))
            log_q = fitted.log_prob(draws)
    log_p, log_q_constrained = posterior.densities(draws, log_q)
    return Draws(posterior.constrained(draws[None]), log_p=log_p[None], log_q=log_q_constrained[None], trace=trace)


@contextmanager
def _isolated(seed: int) -> Iterator[None]:
    """Pyro with parameters of its own and torch with a seed of its own; both globals are as before afterwards."""
    local = pyro.settings.context(module_local_params=True)
    with torch.random.fork_rng(), pyro.get_param_store().scope(), pyro.validation_enabled(False), local:
        torch.manual_seed(seed)
        yield


def _model(posterior: Posterior) -> Callable[[Tensor | None], None]:
    """A Pyro program whose one latent is z and whose log density is the posterior's."""
    start = posterior.start()
    flat = dist.Normal(torch.zeros_like(start), torch.ones_like(start)).mask(False).to_event(1)

    def model(rows: Tensor | None) -> None:
        pyro.factor("posterior", posterior.log_density(pyro.sample("z", flat), rows))

    return model


def _guide(model: Callable[..., None], posterior: Posterior, kind: str, options: Mapping[str, Any]) -> Any:
    """An automatic guide over z, set up."""
    place = autoguide.init_to_value(values={"z": posterior.start()})
    families: dict[str, Callable[[], Any]] = {
        "mean_field": lambda: autoguide.AutoDiagonalNormal(model, place, SCALE),
        "low_rank": lambda: autoguide.AutoLowRankMultivariateNormal(model, place, SCALE, options.get("rank")),
        "full_rank": lambda: autoguide.AutoMultivariateNormal(model, place, SCALE),
        "flow": lambda: autoguide.AutoIAFNormal(model, num_transforms=options.get("layers")),
    }
    if kind not in families:
        raise RunError(f"svi has no guide family {kind!r} on pyro; it has {', '.join(families)}")
    guide = families[kind]()
    guide(None)
    return guide.to(posterior.start())


def _maximize(
    model: Callable[..., None],
    guide: Any,
    posterior: Posterior,
    options: Mapping[str, Any],
    seed: int,
    progress: Progress | None,
) -> Array:
    """Moves the guide, and the parameters without a prior; returns the ELBO of each step in nats.

    Raises:
        RunError: the ELBO is infinite or NaN.
    """
    train, steps = posterior.train, int(options["steps"])
    leaves = [*guide.parameters(), *posterior.points.values()]
    movers, factor = optimizers([(train.optimizer, leaves)]), schedule_factor(train.schedule, steps)
    elbo = Trace_ELBO(num_particles=int(options["particles"]))
    lines = shuffled(posterior.rows, train.batch_size, steps, seed)
    trace, length = np.zeros(steps), -(-steps // BLOCKS)
    for start in range(0, steps, length):
        losses = []
        for step in range(start, min(start + length, steps)):
            loss = elbo.differentiable_loss(model, guide, lines[step])
            _descend(loss, leaves, movers, train, 1.0 if factor is None else factor(step))
            losses.append(loss.detach())
        done = start + len(losses)
        trace[start:done] = -torch.stack(losses).cpu().numpy()
        if not np.isfinite(trace[:done]).all():
            step = int(np.argmin(np.isfinite(trace[:done])))
            raise RunError(
                f"svi: the ELBO is {trace[step]} at step {step}; try a smaller learning rate or more particles"
            )
        if progress is not None:
            progress(done, steps, f"ELBO {trace[done - 1]:.6g} nats")
    return trace


def _descend(
    loss: Tensor, leaves: list[Tensor], movers: tuple[torch.optim.Optimizer, ...], train: Train, factor: float
) -> None:
    for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves, allow_unused=True), strict=True):
        leaf.grad = gradient
    if train.clip_norm is not None:
        clip_grad_norm_(leaves, train.clip_norm)
    for mover in movers:
        for group in mover.param_groups:
            group["lr"] = group["initial_lr"] * factor
        mover.step()


def shuffled(rows: int, batch_size: int | None, steps: int, seed: int) -> list[Tensor | None]:
    """Row numbers per step: pass after pass over the data, each in another order; None for all rows."""
    size = min(batch_size or rows, rows)
    if size == rows:
        return [None] * steps
    generator, per_pass = np.random.default_rng(seed), rows // size
    passes: list[NDArray[np.int64]] = [
        generator.permutation(rows)[: per_pass * size] for _ in range(-(-steps // per_pass))
    ]
    return list(torch.from_numpy(np.concatenate(passes).reshape(-1, size)[:steps]))
