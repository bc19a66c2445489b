"""Stochastic variational inference where local latents have a declared guide: Pyro's ELBO on the emitted programs.

The declared guide covers its own sites; an automatic one covers the rest: the parameters with priors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from dgmppl.backend import Array, Draws
from dgmppl_pyro.moving import on_reals
from dgmppl_pyro.parameters import to_host
from dgmppl_pyro.posterior import Posterior, Progress
from dgmppl_pyro.program import mix
from dgmppl_pyro.variational import automatic, family, isolated, maximize


def run(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """Maximizes the ELBO over both guides, and over parameters without a prior, and draws from the guides.

    Returns:
        Draws with log p(theta, z, data) and log q(theta, z) of each, and the ELBO per step, in nats.

    Raises:
        RunError: the family is unknown, or the ELBO became infinite or NaN.
    """
    with isolated(mix(seed)):
        library = posterior.library()
        declared = library.guide
        _share(library.model, declared)
        model = on_reals(library.model, posterior.program.module.groups)
        guide, own = _together(posterior, model, declared, options)
        elbo = Trace_ELBO(num_particles=int(options["particles"]))
        leaves = list(dict.fromkeys([*own, *declared.parameters(), *library.model.parameters()]))
        trace = maximize(
            lambda rows: elbo.differentiable_loss(model, guide, **posterior.arguments(rows)),
            leaves, posterior, options, seed, progress,
        )  # fmt: skip
        with torch.no_grad():
            lines = [_draw(posterior, model, guide) for _ in range(int(options["draws"]))]
    log_p, log_q = (np.array([line[place] for line in lines])[None] for place in (1, 2))
    values = {name: np.stack([drawn[name] for drawn, _, _ in lines])[None] for name in posterior.names}
    points = {name: np.broadcast_to(value, (*log_p.shape, *value.shape)) for name, value in _points(posterior, library)}
    return Draws({**values, **points}, log_p=log_p, log_q=log_q, trace=trace)


def _share(model: Any, guide: Any) -> None:
    """One tensor for a parameter that both programs name: each makes its own of the same start value."""
    for name in model._parameters.keys() & guide._parameters.keys():
        guide._parameters[name] = model._parameters[name]


def _together(
    posterior: Posterior, model: Callable[..., Any], declared: Callable[..., Any], options: Mapping[str, Any]
) -> tuple[Callable[..., None], list[Tensor]]:
    """The declared guide with an automatic one for the sites that it leaves out, and the latter's parameters."""
    columns = posterior.arguments()
    with torch.no_grad():
        covered = _latent(declared, columns)
        left = _latent(model, columns) - covered
    if not left:
        return declared, []
    rest = automatic(poutine.block(model, hide=sorted(covered)), posterior.start_values(), *family(options["guide"]))
    rest(**columns)
    rest.to(posterior.start())

    def together(**columns: Any) -> None:
        declared(**columns)
        rest(**columns)

    return together, list(rest.parameters())


def _latent(program: Callable[..., Any], columns: Mapping[str, Any]) -> frozenset[str]:
    """The sites that a library program draws, given data."""
    sites = poutine.trace(program).get_trace(**columns)
    return frozenset(sites.stochastic_nodes)


def _draw(
    posterior: Posterior, model: Callable[..., Any], guide: Callable[..., Any]
) -> tuple[dict[str, Array], float, float]:
    """One draw of the parameters, with log p and log q of everything drawn, given all data, in nats."""
    columns = posterior.arguments()
    drawn = poutine.trace(guide).get_trace(**columns)
    joint = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(**columns)
    values = to_host({name: joint.nodes[name]["value"] for name in posterior.names})
    return values, float(joint.log_prob_sum()), float(drawn.log_prob_sum())


def _points(posterior: Posterior, library: Any) -> Iterator[tuple[str, Array]]:
    """Fitted values of the parameters without a prior, constrained, by canonical name."""
    tree = posterior.program.tree
    for name, leaf in posterior.points.items():
        group = tree.specs[name].group
        holder = library.model if hasattr(library.model, group) else library.guide
        inside = name != group
        yield name, to_host({name: leaf if inside else getattr(holder, group)})[name]
