"""Forty drawn composites on both backends, each against the library's own densities and the other backend."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conformance.composites import draw
from tests.support import both, library_log_density, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

SEEDS = range(40)
PARTICLES = 3


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: draw(seed).title)
def test_composite(seed: int) -> None:
    composite = draw(seed)
    compiled = both(composite.spec)
    values = start(compiled["numpyro"], seed)
    assert [spec.name for spec in compiled["pyro"].module.parameters] == list(values)
    batch = {composite.column: _column(compiled["numpyro"], composite.column)}
    rows = len(batch[composite.column])
    results = {name: _evaluate(one, name, values, batch, rows, exact=composite.exact) for name, one in compiled.items()}
    ours, theirs = zip(*(results[name] for name in ("pyro", "numpyro")), strict=True)
    np.testing.assert_allclose(ours[0], ours[1], rtol=1e-9, atol=1e-9, err_msg="the backends disagree")
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9, atol=1e-9, err_msg="Pyro's own log density disagrees")
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9, atol=1e-9, err_msg="NumPyro's own log density disagrees")


def _column(compiled, name):
    from dgmppl.data import load

    return load(compiled.spec.data, seed=0).train.arrays[name]


def _evaluate(compiled, backend, values, batch, rows, *, exact):
    """(our log weights summed over the batch, the library's) for each particle; or both log-likelihoods."""
    executable, module = compiled.executable, compiled.module
    model = executable.library_model(values)
    if exact:
        ours = executable.call("log_prob", values, batch)["value"].sum()
        return ours, _enumerated(compiled, backend, model, batch, {}, rows)
    noise = noise_for(module.function("log_weights"), rows, PARTICLES)
    ours = executable.call("log_weights", values, batch, noise=noise, particles=PARTICLES)["value"].sum(-1)
    drawn = executable.call("encode", values, batch, noise=noise, particles=PARTICLES)
    guide = executable.library_guide(values)
    theirs = []
    for particle in range(PARTICLES):
        latents = {name: value[particle] for name, value in drawn.items()}
        joint = _enumerated(compiled, backend, model, batch, latents, rows)
        theirs.append(joint - library_log_density(backend, guide, batch, latents))
    return ours, np.array(theirs)


def _enumerated(compiled, backend, model, batch, latents, rows):
    """The library's log joint with each discrete latent that the compiler summed out summed by brute force, row by row.

    The rows are independent, so the states of one latent are put in for all rows at once and combined per row: with a
    single row per call, the library's total is that row's log density.
    """
    summed = [name for name, rule in compiled.derivation.eliminated.items() if rule == "enumerate"]
    if not summed:
        return library_log_density(backend, model, batch, latents)
    (name,) = summed
    states = compiled.program.by_name[name].typed.support.states
    kind = np.float64 if compiled.program.by_name[name].typed.support.kind == "binary" else np.int64
    total = 0.0
    for row in range(rows):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        held = {key: value[row : row + 1] for key, value in latents.items()}
        terms = [
            library_log_density(backend, model, one, {**held, name: np.full(1, state, kind)}) for state in range(states)
        ]
        total += np.logaddexp.reduce(terms)
    return total
