"""Diffusions that do not end in noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dgmppl.ir.densities import DiffusionChain
from dgmppl.ir.diffusions import fixed_schedule
from dgmppl.ir.program import Program
from dgmppl.passes.lints.facts import warning
from dgmppl.source import Diagnostic

# The share of a unit variance that the last noise may show: its divergence from the prior is then 0.01 nats an element.
_SHARE = 0.02


def ends_in_noise(program: Program) -> Iterator[Diagnostic]:
    """A schedule whose last time still shows the data, so that the prior is not where the noising process ends.

    Samples then start from a distribution that the denoiser has never seen, and the bound pays
    KL(q(x_T | x) || p(x_T)) on every datum.
    """
    for site in (*program.sites, *program.guide):
        density = site.density
        if not isinstance(density, DiffusionChain):
            continue
        last = _last_log_snr(density)
        if last is not None and last > math.log(_SHARE):
            share = 1 / (1 + math.exp(-last))
            yield warning(
                "schedule-keeps-signal",
                f"the last noise of {site.name!r} still shows the data: signal is {share:.0%} of its variance "
                "where the data have variance 1",
                density.schedule.span or density.span,
                "let the noise grow further, as `cosine()` does by default, and give a chain two steps or more",
            )


def _last_log_snr(density: DiffusionChain) -> float | None:
    """The log-SNR of the last time; None where it is learned. A chain of one step has the first time alone."""
    schedule = fixed_schedule(density)
    return None if schedule is None else float(schedule.log_snr(np.asarray(0.0 if density.steps == 1 else 1.0), np))
