"""`Answers`: a program at parameters, or with posterior draws of them, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.completion import completed, known
from dgmppl.api.discrete import stated
from dgmppl.api.inputs import Batch, of_part, of_values, row_wise
from dgmppl.api.queries import Queries
from dgmppl.backend import Device, Draws
from dgmppl.errors import ArgumentError, RunError
from dgmppl.ir.program import Program, Role
from dgmppl.results.evaluation import Score, derived_seed, log_mean_exp, over_draws

if TYPE_CHECKING:
    from dgmppl.api.program import CompiledProgram
    from dgmppl.data import DataSet

Array: TypeAlias = NDArray[Any]

# Posterior draws behind a predictive number, thinned evenly from all of them.
PREDICTIVE_DRAWS = 400


@dataclass(frozen=True, repr=False)
class Answers:
    """What a model answers. Every data argument is in the data's own units, and so is what comes back.

    This is all of a fit that its results are computed from; `Fit` adds the results themselves.

    Attributes:
        program: the compiled program.
        parameters: canonical name -> array, constrained, torch layouts, the same on every backend: the moving averages
            where `train: {ema}` keeps them, posterior means where there are draws. Everything below is asked of these.
        draws: posterior draws of the parameters with priors, or None.
        data: what it was fitted to; None for a program at given parameters.
        records: training reports: step, epoch, mean loss (nats per datum) and its terms.
        device: where questions are answered; see `Fit.to`.
    """

    program: CompiledProgram
    parameters: dict[str, Array]
    draws: Draws | None = None
    data: DataSet | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    device: Device | None = None

    def __post_init__(self) -> None:
        """Lists the parameters as the program declares them: jax's trees and checkpoint files have other orders."""
        order = {parameter.name: number for number, parameter in enumerate(self.program.compiled.module.parameters)}
        names = sorted(self.parameters, key=lambda name: (order.get(name, len(order)), name))
        object.__setattr__(self, "parameters", {name: self.parameters[name] for name in names})

    @cached_property
    def queries(self) -> Queries:
        """The emitted program's functions."""
        return Queries(self.program.compiled, self.device)

    @property
    def _typed(self) -> Program:
        return self.program.compiled.program

    # ---- data arguments ---------------------------------------------------------------------------------------------

    def batch(self, x: Any = None, *, seed: int = 0, partial: bool = False) -> Batch:
        """Data as the program sees them; None for the held-out rows, or the training rows where nothing is held out."""
        if x is not None:
            return of_values(self._typed, self.program.compiled.spec.data, x, seed=seed, partial=partial)
        data = self.loaded
        return of_part(self._typed, data, data.held_out or data.train)

    @cached_property
    def loaded(self) -> DataSet:
        """The data that the model was fitted to, read again where they are not at hand."""
        return self.data if self.data is not None else self.program.load_data()

    # ---- densities --------------------------------------------------------------------------------------------------

    def log_prob(self, x: Any = None, *, seed: int = 0) -> Array:
        """Log p(x) of each datum, `[N]`, nats, the transforms' log-determinants included; exact.

        With posterior draws it is the log posterior predictive density, log (1/S) sum_s p(x | theta_s).

        Args:
            x: data, `[N, *event]` or named columns; None for the held-out rows.
            seed: of the noise of `dequantize`, under which the value is a bound on the discrete probability.

        Raises:
            RunError: the model has no exact density; the reason, and what it has instead.
        """
        return self.score_batch(self.batch(x, seed=seed)).values

    def score_batch(self, batch: Batch) -> Score:
        """The density of rows that are in model units already."""
        if self.draws is None:
            return self.queries.log_prob(self.parameters, batch)
        values = over_draws(
            self.draws.posterior,
            lambda theta, _: self.queries.log_prob(self.at_draw(theta), batch).values,
            PREDICTIVE_DRAWS,
        )
        why = f"averaged over {len(values)} posterior draws: log (1/S) sum_s p(x | theta_s)"
        score = Score(log_mean_exp(values), "log_predictive", "estimate", len(values), why)
        return stated(score, self._typed, batch)

    def at_draw(self, theta: Mapping[str, Array]) -> dict[str, Array]:
        """All parameters at one posterior draw."""
        return {name: theta.get(name, value) for name, value in self.parameters.items()}

    def elbo(self, x: Any = None, particles: int = 100, seed: int = 0) -> Array:
        """The evidence lower bound E_q[log p(x, z) - log q(z|x)] of each datum, `[N]`, nats (Kingma and Welling 2014).

        Args:
            x: as in `log_prob`.
            particles: draws of the guide that it is averaged over.
            seed: of those draws.

        Raises:
            RunError: the model has no such bound, with the reason.
        """
        return self.queries.elbo(self.parameters, self.batch(x, seed=seed), particles, seed).values

    def iwae(self, x: Any = None, particles: int = 100, seed: int = 0) -> Array:
        """Log (1/K) sum_k p(x, z_k) / q(z_k | x) of each datum, `[N]`, nats (Burda, Grosse and Salakhutdinov 2016).

        In expectation over its draws it is a lower bound on log p(x), which tightens with K.

        Args:
            x: as in `log_prob`.
            particles: K, draws of the guide.
            seed: of those draws.

        Raises:
            RunError: the model has no such bound, with the reason.
        """
        return self.queries.iwae(self.parameters, self.batch(x, seed=seed), particles, seed).values

    def score(self, x: Any = None, particles: int = 100, seed: int = 0) -> Score:
        """The best density that the model has, with its status: exact, or the importance-weighted bound.

        Where log Z is not known it is estimated, as `evaluate: {log_z: ...}` says; its error is `log_z_error`.

        Args:
            x: as in `log_prob`.
            particles: draws behind a bound.
            seed: of all noise.

        Returns:
            `values`, `[N]`, nats; `mean`, `standard_error`; `bits_per_dim` of discrete data; `kind`, `status`, `why`.

        Raises:
            RunError: the model has neither, with the reason.
        """
        return self.score_of(self.batch(x, seed=seed), particles, seed)

    def score_of(self, batch: Batch, particles: int, seed: int) -> Score:
        """`score` of rows that are in model units already."""
        if self.draws is None and self.queries.unnormalized:
            return self.queries.estimated(self.parameters, batch, particles, seed)
        if self.draws is not None or self.program.compiled.executable.has("log_prob"):
            return self.score_batch(batch)
        return self.queries.best(self.parameters, batch, particles, seed)

    # ---- samples and latents ----------------------------------------------------------------------------------------

    def sample(self, n: int = 1, given: Any = None, seed: int = 0) -> Any:
        """Draws from the model, in the data's own units; with posterior draws, from the posterior predictive.

        Args:
            n: how many.
            given: covariates: one value for all draws, or `[n, *event]`, by name; None takes covariates from the rows
                of the data, in order. The first elements of a factorized site, `[m]` or `[n, m]` in model units, are
                kept; so are those elements of a diffusion's events, whole and in model units too, that are not NaN.
            seed: of the noise.

        Returns:
            `[n, *event]` where one variable is observed; else a dictionary of such arrays.

        Raises:
            RunError: the model has no sampler, with the reason; what is given does not fit; a Markov chain exploded.
        """
        drawn = self.draw(n, self._known(n, given), seed)
        observed = self.queries.observed(drawn)
        return next(iter(observed.values())) if len(observed) == 1 else observed

    def draw(self, n: int, covariates: Mapping[str, Array], seed: int) -> dict[str, Array]:
        """Every site of the model, `[n, *event]`, in model units, given covariates in model units."""
        if self.draws is None:
            ask = self.queries.complete if any(name.endswith(".given") for name in covariates) else self.queries.sample
            return ask(self.parameters, n, covariates, seed)

        def one(theta: Mapping[str, Array], number: int) -> dict[str, Array]:
            row = {
                name: array[number % len(array)][None] if row_wise(self._typed, name) else array
                for name, array in covariates.items()
            }
            return self.queries.sample(self.at_draw(theta), 1, row, derived_seed(seed, number))

        flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in self.draws.posterior.items()}
        count = len(next(iter(flat.values())))
        chosen = np.random.default_rng(seed).integers(count, size=n)
        parts = [
            one({name: values[place] for name, values in flat.items()}, number) for number, place in enumerate(chosen)
        ]
        return {
            name: np.concatenate([np.broadcast_to(part[name], (1, *np.shape(part[name])[1:])) for part in parts])
            for name in parts[0]
        }

    def _known(self, n: int, given: Any) -> dict[str, Array]:
        """Covariates of n draws and the elements that are given of observed sites, in model units."""
        begun = completed(self._typed)
        names = dict(given) if isinstance(given, Mapping) else {}
        started = {name: value for name, value in names.items() if name in begun}
        rest = {name: value for name, value in names.items() if name not in begun} if started else given
        result = self._covariates(n, rest or None)
        if not started:
            return result
        if self.draws is not None:
            raise RunError("a beginning can be given where parameters are points, not posterior draws")
        for name in begun:
            values, mask = known(self._typed, begun[name], started.get(name), n)
            result |= {name: values, f"{name}.given": mask}
        return result

    def _covariates(self, n: int, given: Any) -> dict[str, Array]:
        """Covariates of n draws, in model units."""
        needed = [site.name for site in self._typed.with_role(Role.COVARIATE) if self._typed.children(site.name)]
        needed += [level for level in self._typed.levels if level in self._typed.columns and level not in needed]
        # A series goes on from its first values, which are the data's.
        sampler = self.program.compiled.module.function("sample")
        read = () if sampler is None else sampler.columns
        needed += [column for column, _ in read if column not in needed]
        if not needed:
            self._refuse_unknown(given)
            return {}
        own: dict[str, Array] = {}
        if given is not None:
            tiled = {name: _repeated(value, n) for name, value in dict(given).items()}
            own = self.batch(tiled, partial=True).arrays
        missing = [name for name in needed if name not in own]
        if missing:
            rows = self.batch().arrays
            own |= {
                name: _cycled(rows[name], n) if row_wise(self._typed, name) else rows[name]
                for name in missing
                if name in rows
            }
        return own

    def _refuse_unknown(self, given: Any) -> None:
        """Names for a draw that reads nothing: columns of the data may come along, others are a mistake."""
        for name in given if isinstance(given, Mapping) else ():
            if name.removesuffix(".observed") not in self._typed.columns:
                raise ArgumentError(f"{name!r} cannot be given: {self._typed.name} is conditioned on nothing")

    def posterior(self, x: Any = None, draws: int = 100, seed: int = 0) -> dict[str, Array]:
        """What is known of the unknowns given data.

        Args:
            x: as in `log_prob`; not read where there are posterior draws of parameters.
            draws: of the guide.
            seed: of those draws.

        Returns:
            With posterior draws of parameters: those, `[chain, draw, *shape]`. Else for local latents that were summed
            or integrated out the exact posterior (`k.probs`, `z.loc`, `z.covariance`), and for latents with a guide
            `draws` draws of it, `[draws, N, *event]`.

        Raises:
            RunError: the model has neither.
        """
        if self.draws is not None:
            return dict(self.draws.posterior)
        if self.program.compiled.executable.has("posterior"):
            return self.queries.posterior(self.parameters, self.batch(x))
        return self.queries.encode(self.parameters, self.batch(x), draws, seed)

    def encode(self, x: Any = None, draws: int = 1, seed: int = 0) -> dict[str, Array]:
        """Draws of the latents from the guide, `[draws, N, *event]` by name, in model units.

        Args:
            x: as in `log_prob`.
            draws: of each row's latents.
            seed: of those draws.

        Raises:
            RunError: the model has no guide.
        """
        return self.queries.encode(self.parameters, self.batch(x, seed=seed), draws, seed)

    def decode(self, z: Any, given: Any = None) -> dict[str, Array]:
        """Parameters of the observed variables' distributions at latents, in model units, as `x.logits`.

        Args:
            z: an array `[N, *event]` of the only latent, or a mapping of latents.
            given: covariates, by name.

        Returns:
            `[N, *event]` by site and parameter.

        Raises:
            RunError: a latent is missing, or the model has no decoder.
        """
        latents = self._latents(z)
        rows = len(next(iter(latents.values())))
        return self.queries.decode(self.parameters, latents, self._covariates(rows, given))

    def _latents(self, z: Any) -> dict[str, Array]:
        if isinstance(z, Mapping):
            return {str(name): np.asarray(value) for name, value in z.items()}
        names = [site.name for site in self._typed.latents]
        if len(names) != 1:
            raise RunError(
                f"an array alone does not say which latent it is; give a mapping of {', '.join(names) or 'none'}"
            )
        return {names[0]: np.asarray(z)}


def _repeated(value: Any, n: int) -> Any:
    """One value for all draws, or one per draw."""
    array = np.asarray(value)
    return np.repeat(array[None], n, axis=0) if array.ndim == 0 or len(array) != n else array


def _cycled(array: Array, n: int) -> Array:
    """N rows, from the first on, and again from the first where there are fewer."""
    return array[np.arange(n) % len(array)]
