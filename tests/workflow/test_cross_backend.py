"""A run folder is the same model on both backends: written by one and loaded by the other, its densities agree.

Every spec of the zoo that is lowered takes part, at parameters moved off their start. A bound is compared as its log
importance weights on the same random numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.api import saving
from dgmppl.api.fitted import Fit
from dgmppl.ir.analyses import expressions
from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.expressions import Call, walk
from dgmppl.ir.program import Program
from tests.support import SPECS, noise_for, start
from tests.zoo import data_for, lowered

pytestmark = pytest.mark.usefixtures("quick_compilation")

# float32 sums over hundreds of terms; float64 leaves the rounding of one.
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}
# Each direction and each precision meets every spec; what a folder holds does not depend on both together.
DIRECTIONS = [
    pytest.param("pyro", "numpyro", "float64", id="float64"),
    pytest.param("numpyro", "pyro", "float32", marks=pytest.mark.slow, id="float32"),
]
ROWS, PARTICLES = 8, 2


def density(fit: Fit, x: Any = None) -> np.ndarray:
    """log p of the first rows, or their log weights on shared random numbers, nats; of implicit models the draws."""
    executable, whole = fit.program.compiled.executable, fit.batch(x)
    batch = whole.take(fit.program.compiled.program, slice(0, ROWS))
    for name in ("log_prob", "log_unnormalized"):
        if executable.has(name):
            return executable.call(name, fit.parameters, batch.arrays, rows=batch.rows)["value"]
    functions = map(fit.program.compiled.module.function, ("log_weights", "unnormalized_log_weights", "elbo", "sample"))
    function = next(function for function in functions if function is not None)
    noise = noise_for(function, batch.rows, PARTICLES)
    called = executable.call(
        function.name, fit.parameters, batch.arrays, noise=noise, particles=PARTICLES, rows=batch.rows
    )
    return np.concatenate([np.ravel(value) for _, value in sorted(called.items())])


def tolerance(program: Program, precision: str) -> float:
    """That of the precision, or where a differential equation is solved ten times that of the solver."""
    steps = [step for bijector in program.bijectors.values() for step in bijector.walk()]
    solved = [float(str(step.options["rtol"])) for step in steps if BIJECTORS[step.kind].continuous]
    written = (node for site in program.sites for one in expressions(site.density) for node in walk(one))
    solved += [1e-6 for node in written if isinstance(node, Call) and node.function == "ode_solve"]
    return max([TOLERANCE[precision], *(10 * rtol for rtol in solved)])


@pytest.mark.parametrize(("here", "there", "precision"), DIRECTIONS)
@pytest.mark.parametrize("name", lowered())
def test_a_run_has_the_same_density_on_the_other_backend(
    tmp_path: Path, name: str, here: str, there: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "write_results", lambda *_, **__: None)
    # What is held out is scored by its own tests; here it would solve a diffusion's equation for every row.
    monkeypatch.setattr(saving, "held_out", lambda *_: {"split": "none", "rows": 0, "metrics": [], "why": "a test"})
    program = dg.compile(
        SPECS / f"{name}.yaml", backend=here, bindings=data_for(name), overrides=[f"train.precision={precision}"]
    )
    fitted = program.at({key: value.astype(precision) for key, value in start(program.compiled).items()})
    fitted.save(tmp_path / "run")
    loaded = dg.load(tmp_path / "run", backend=there)
    assert loaded.program.backend == there
    for key, value in fitted.parameters.items():
        assert loaded.parameters[key].dtype == np.dtype(precision)
        np.testing.assert_array_equal(loaded.parameters[key], value)
    bound = data_for(name)
    # What a file brings goes with what is bound: a run on another backend has no bindings of its own.
    x = {**program.load_data().train.arrays, **bound} if bound else None
    one, other = (density(fit, x) for fit in (fitted, loaded))
    assert np.isfinite(one).all()
    allowed = tolerance(program.compiled.program, precision)
    # Rounding is that of the largest terms, which sums and differences of them keep.
    np.testing.assert_allclose(one, other, rtol=allowed, atol=allowed * max(1.0, np.abs(one).max()))


def test_a_changed_parameter_is_seen_by_the_comparison(tmp_path: Path) -> None:
    """The comparison above can fail: a thousandth of one parameter is far outside its tolerance."""
    program = dg.compile(SPECS / "gmm.yaml", backend="pyro")
    values = {key: value.astype("float64") for key, value in start(program.compiled).items()}
    moved = {**values, "loc": values["loc"] * 1.001}
    program.at(moved).save(tmp_path / "run")
    one, other = density(program.at(values)), density(dg.load(tmp_path / "run", backend="numpyro"))
    assert np.abs(one - other).max() > 1e-4
