"""What can be asked of a program at given parameters: densities, bounds, samples, latents.

A question that a model has no answer to is refused with the reason that the derivation gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.chains import unbroken
from dgmppl.api.discrete import stated
from dgmppl.api.inputs import Batch, log_abs_det, own_units, row_wise
from dgmppl.backend import Arrays, Device, Executable
from dgmppl.compiler import Compilation
from dgmppl.errors import RunError
from dgmppl.ir.program import Program
from dgmppl.objectives.algebra import LogNormalizer, walk
from dgmppl.results.evaluation import Score, chunks, derived_seed, log_mean_exp
from dgmppl.results.partition import LogZ, log_normalizer

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Queries:
    """Questions to an emitted program.

    Attributes:
        compiled: the program and its derivation.
        device: where they are answered; None for where the backend computes by itself.
    """

    compiled: Compilation
    device: Device | None = None

    @property
    def program(self) -> Program:
        """The typed program."""
        return self.compiled.program

    @cached_property
    def executable(self) -> Executable:
        """The imported program."""
        return self.compiled.executable if self.device is None else self.compiled.executable.on(self.device)

    def require(self, function: str, capability: str, question: str) -> None:
        """Refuse a question that the emitted program has no function for.

        Raises:
            RunError: with the derivation's reason, and what can be asked instead.
        """
        if self.executable.has(function):
            return
        known = self.compiled.derivation.capabilities.get(capability)
        reason = f": {known.why}" if known is not None else ""
        bounds = " or ".join(
            name for name, needed in (("elbo", "elbo"), ("iwae", "log_weights")) if self.executable.has(needed)
        )
        instead = f"; ask for {bounds}" if bounds and function in {"log_prob", "log_weights"} else ""
        raise RunError(f"{self.program.name} has no {question}{reason}{instead}")

    def log_prob(self, values: Arrays, batch: Batch) -> Score:
        """Log p of each datum in the data's own units, nats: exact."""
        self.require("log_prob", "log_prob", "exact log density")
        return stated(Score(self._by_rows("log_prob", values, batch), "log_prob", "exact"), self.program, batch)

    def elbo(self, values: Arrays, batch: Batch, particles: int, seed: int) -> Score:
        """A lower bound on log p of each datum, averaged over draws of the guide, nats."""
        self.require("elbo", "log_prob", "evidence lower bound")
        bound = self._by_rows("elbo", values, batch, particles, seed)
        why = "a lower bound on log p in expectation over its draws"
        return stated(Score(bound, "elbo", "bound", particles, why), self.program, batch)

    def iwae(self, values: Arrays, batch: Batch, particles: int, seed: int) -> Score:
        """Log (1/K) sum_k w_k of each datum, w = p(x, z) / q(z | x): a bound that tightens with K, nats."""
        self.require("log_weights", "log_prob", "importance-weighted bound")
        bound = self._by_rows("log_weights", values, batch, particles, seed, log_mean_exp)
        why = "a lower bound on log p in expectation, tighter with more particles"
        return stated(Score(bound, "iwae", "bound", particles, why), self.program, batch)

    def ode_log_prob(self, values: Arrays, batch: Batch) -> Score:
        """Log p of each datum under the probability-flow ODE of a diffusion, nats: exact to the solver's tolerance."""
        self.require("ode_log_prob", "log_prob", "density of a probability-flow ODE")
        density = self._by_rows("ode_log_prob", values, batch)
        why = "the probability-flow ODE's own density, which is not that of the reverse chain"
        return stated(Score(density, "ode_log_prob", "exact", why=why), self.program, batch)

    @property
    def unnormalized(self) -> tuple[str, ...]:
        """The sites whose log Z the model's density lacks."""
        likelihood = self.compiled.derivation.objective.likelihood
        nodes = () if likelihood is None else walk(likelihood)
        return tuple(dict.fromkeys(node.site for node in nodes if isinstance(node, LogNormalizer)))

    def log_z(self, values: Arrays, seed: int) -> tuple[LogZ, ...]:
        """log Z of every unnormalized site, each with its standard error."""
        return tuple(
            log_normalizer(self.program, self.executable, values, site, seed + number)
            for number, site in enumerate(self.unnormalized)
        )

    def estimated(self, values: Arrays, batch: Batch, particles: int, seed: int) -> Score:
        """log p of each datum with an estimate of log Z, whose error all data share, nats."""
        found = self.log_z(values, seed)
        if self.executable.has("log_unnormalized"):
            kind, particles, density = "log_prob", 1, self._by_rows("log_unnormalized", values, batch)
        else:
            kind = "iwae"
            density = self._by_rows("unnormalized_log_weights", values, batch, particles, seed, log_mean_exp)
        error, why = math.sqrt(sum(one.standard_error**2 for one in found)), "; ".join(map(str, found))
        value = density - sum(one.value for one in found)
        return stated(Score(value, kind, "estimate", particles, why, log_z_error=error), self.program, batch)

    def best(self, values: Arrays, batch: Batch, particles: int, seed: int) -> Score:
        """The tightest density that the model has: exact, else the importance-weighted bound, else the plain one."""
        if self.executable.has("log_prob"):
            return self.log_prob(values, batch)
        if self.executable.has("log_weights"):
            return self.iwae(values, batch, particles, seed)
        return self.elbo(values, batch, particles, seed)

    def _by_rows(
        self, function: str, values: Arrays, batch: Batch, particles: int = 1, seed: int = 0,
        reduce: Callable[[Array], Array] | None = None,
    ) -> Array:  # fmt: skip
        """What a function says of each datum, and the transforms' log-determinants, nats, `[N]`.

        Rows are asked in chunks that fit into memory, each with noise of its own: values that shared it would not be
        independent, and the standard error of their mean too small.

        Args:
            function: an emitted one of data.
            values: parameters.
            batch: the rows.
            particles: draws behind each value.
            seed: of the first chunk's noise, from which the others' come.
            reduce: from a chunk's `[K, N]` to `[N]`; None where the function averages.
        """

        def ask(rows: slice) -> Array:
            part, own = batch.take(self.program, rows), derived_seed(seed, rows.start)
            found = self.executable.call(function, values, part.arrays, seed=own, particles=particles, rows=part.rows)
            each = found["value"] if reduce is None else reduce(found["value"])
            return np.broadcast_to(each, (part.rows,))

        elements = sum(
            array[0].size for name, array in batch.arrays.items() if row_wise(self.program, name) and len(array)
        )
        parts = [ask(rows) for rows in chunks(batch.rows, max(elements, 64) * 8, particles)]
        return np.concatenate(parts) + log_abs_det(self.program, batch)

    def sample(self, values: Arrays, rows: int, covariates: Arrays, seed: int) -> dict[str, Array]:
        """Every random and deterministic site of the model, `[rows, *event]`, in model units.

        Raises:
            RunError: there is no sampler, or a Markov chain in it exploded.
        """
        self.require("sample", "sample", "sampler")
        return unbroken(self.program, self.executable.call("sample", values, covariates, seed=seed, rows=rows))

    def complete(self, values: Arrays, rows: int, known: Arrays, seed: int) -> dict[str, Array]:
        """The same, given the elements of observed sites that `known` holds and marks in `NAME.given`."""
        self.require("complete", "sample", "sampler that goes on from given elements")
        return unbroken(self.program, self.executable.call("complete", values, known, seed=seed, rows=rows))

    def observed(self, drawn: Mapping[str, Array]) -> dict[str, Array]:
        """The observed sites among draws, in the data's own units."""
        return {
            site.name: own_units(self.program, site.name, np.asarray(drawn[site.name]))
            for site in self.program.observed
        }

    def encode(self, values: Arrays, batch: Batch, draws: int, seed: int) -> dict[str, Array]:
        """Draws of the latents from the guide, `[draws, N, *event]`."""
        self.require("encode", "posterior", "guide to draw latents from")
        result = self.executable.call("encode", values, batch.arrays, seed=seed, particles=draws, rows=batch.rows)
        return {
            name: np.broadcast_to(value, (draws, batch.rows, *np.shape(value)[2:])) for name, value in result.items()
        }  # fmt: skip

    def posterior(self, values: Arrays, batch: Batch) -> dict[str, Array]:
        """The exact posterior of latents that were summed or integrated out, by name."""
        self.require("posterior", "posterior", "exact posterior of its latents")
        return self.executable.call("posterior", values, batch.arrays, rows=batch.rows)

    def decode(self, values: Arrays, latents: Arrays, covariates: Arrays) -> dict[str, Array]:
        """Parameters of the observed sites' distributions at given latents, as `x.logits`."""
        self.require("decode", "sample", "decoder")
        missing = [
            site.name for site in self.program.latents if self.program.children(site.name) and site.name not in latents
        ]
        if missing:
            raise RunError(f"decode needs the latents {', '.join(missing)}")
        rows = len(next(iter(latents.values())))
        return self.executable.call("decode", values, {**covariates, **latents}, rows=rows)
