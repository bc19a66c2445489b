"""Rows that are asked in chunks: equal numbers where nothing is random, independent noise where something is."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.results import evaluation
from tests.support import BACKENDS

ROWS = 12
SPEC = {
    "dgmppl": 1,
    "name": "chunks",
    "data": {"x": {"values": [0.7] * ROWS}},
    "parameters": {"loc": "learned(normal())"},
    "model": {"z": "Normal(loc, 1)", "x": "Normal(z, 1)"},
    "guide": {"z": "Normal(0.5 * x, 1)"},
}


@pytest.fixture
def chunks_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A datum of one number with one particle takes 512 elements (`Queries`)."""
    monkeypatch.setattr(evaluation, "_CHUNK_ELEMENTS", 3 * 512)


@pytest.mark.usefixtures("chunks_of_three")
@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_rows_in_different_chunks_have_noise_of_their_own(backend: str) -> None:
    """Were it shared, ROWS bounds would be worth three, and their standard error too small by a factor of two."""
    fit = dg.compile(SPEC, backend=backend).initial()
    for bound in (fit.elbo(particles=1), fit.iwae(particles=1)):
        assert len(np.unique(bound)) == ROWS
    assert not np.array_equal(fit.elbo(particles=1, seed=1), fit.elbo(particles=1, seed=2))
    np.testing.assert_array_equal(fit.elbo(particles=1, seed=1), fit.elbo(particles=1, seed=1))


def test_an_exact_density_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = {key: value for key, value in SPEC.items() if key != "guide"} | {"data": {"x": [0.1 * k for k in range(9)]}}
    fit = dg.compile(exact, backend="numpyro").initial()
    whole = fit.log_prob()
    monkeypatch.setattr(evaluation, "_CHUNK_ELEMENTS", 2 * 512)
    np.testing.assert_allclose(fit.log_prob(), whole, rtol=1e-6)
    x = 0.1 * np.arange(9)
    loc = float(fit.parameters["loc"])
    np.testing.assert_allclose(whole, -0.25 * (x - loc) ** 2 - 0.5 * math.log(4.0 * math.pi), rtol=1e-5)
