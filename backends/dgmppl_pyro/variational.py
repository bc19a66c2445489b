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
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import AUTO, GUIDES
from dgmppl.ir.settings import Train
from dgmppl_pyro.optimizers import optimizers, schedule_factor
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
    with isolated(mix(seed)):
        model = _model(posterior)
        guide = automatic(model, {"z": posterior.start()}, *family(options["guide"]))
        guide(None)
        guide.to(posterior.start())
        elbo = Trace_ELBO(num_particles=int(options["particles"]))
        leaves = [*guide.parameters(), *posterior.points.values()]
        trace = maximize(
            lambda rows: elbo.differentiable_loss(model, guide, rows), leaves, posterior, options, seed, progress
        )
        with torch.no_grad():
            fitted = guide.get_posterior()
            draws = fitted.sample((int(options["draws"]),))
            log_q = fitted.log_prob(draws)
    log_p, log_q_constrained = posterior.densities(draws, log_q)
    return Draws(posterior.constrained(draws[None]), log_p=log_p[None], log_q=log_q_constrained[None], trace=trace)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
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


def automatic(model: Callable[..., Any], start: Mapping[str, Tensor], kind: str, options: Mapping[str, Any]) -> Any:
    """An automatic guide over all latents of a Pyro program.

    Args:
        model: the program.
        start: constrained values of its latents, where the guide is to be centred at first.
        kind: the family's name.
        options: of the family.

    Raises:
        RunError: there is no such family.
    """
    place = autoguide.init_to_value(values=dict(start))
    families: dict[str, Callable[[], Any]] = {
        "mean_field": lambda: autoguide.AutoDiagonalNormal(model, place, SCALE),
        "low_rank": lambda: autoguide.AutoLowRankMultivariateNormal(model, place, SCALE, options.get("rank")),
        "full_rank": lambda: autoguide.AutoMultivariateNormal(model, place, SCALE),
        "flow": lambda: autoguide.AutoIAFNormal(model, num_transforms=options.get("layers")),
    }
    if kind not in families:
        raise RunError(f"svi has no guide family {kind!r} on pyro; it has {', '.join(families)}")
    return families[kind]()


def maximize(
    loss_of: Callable[[Tensor | None], Tensor],
    leaves: list[Tensor],
    posterior: Posterior,
    options: Mapping[str, Any],
    seed: int,
    progress: Progress | None,
) -> Array:
    """Moves tensors downhill; returns the ELBO of each step in nats.

    Args:
        loss_of: the negative ELBO, in nats, of a batch: row numbers, or None for all rows.
        leaves: what moves.
        posterior: for its training settings and the number of its rows.
        options: of the engine.
        seed: of the batches.
        progress: called now and then.

    Raises:
        RunError: the ELBO is infinite or NaN.
    """
    train, steps = posterior.train, int(options["steps"])
    movers, factor = optimizers([(train.optimizer, leaves)]), schedule_factor(train.schedule, steps)
    lines = shuffled(posterior.rows, train.batch_size, steps, seed)
    trace, length = np.zeros(steps), -(-steps // BLOCKS)
    for start in range(0, steps, length):
        losses = []
        for step in range(start, min(start + length, steps)):
            loss = loss_of(lines[step])
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
