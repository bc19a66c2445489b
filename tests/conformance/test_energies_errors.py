"""Energies that go wrong: a chain that explodes, an energy that diverges; each stops with its site and its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.errors import RunError
from dgmppl.results.partition import log_normalizer
from tests.support import BACKENDS

pytestmark = pytest.mark.usefixtures("quick_compilation")

TEXT = """dgmppl: 1
name: wild
data:
  x: {{dataset: moons, size: 200}}
networks:
  potential: mlp([8], activation=softplus)
parameters:
  a: learned(3.0)
model:
  x: Energy({energy})
objective: {objective}
train: {{optimizer: sgd(1e-3), steps: 20, batch_size: 32}}
"""
CHAIN = "x: the Markov chain exploded"


def refused(folder: Path, backend: str, energy: str, objective: str) -> str:
    spec = folder / "wild.yaml"
    spec.write_text(TEXT.format(energy=energy, objective=objective))
    with pytest.raises(RunError) as error:
        dg.compile(spec, backend=backend).fit()
    return str(error.value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("chain", "start"),
    [("steps=60, step_size=0.1", "x (data)"), ("steps=3, step_size=0.3, buffer=64", "x.chain (carried)")],
    ids=["from the data", "from a buffer"],
)
def test_an_exploding_chain_stops_the_run_at_its_site(tmp_path: Path, backend: str, chain: str, start: str) -> None:
    """E = -a x^2 + .. pushes every chain away, by a factor (1 + 2 a step_size) a step: finite for long, never right."""
    said = refused(tmp_path, backend, "-a * sum(square(x)) + potential(x)", f"contrastive_divergence({chain})")
    assert said.startswith("the loss is nan at step ")
    assert f"wild.yaml:10:3: {CHAIN}" in said
    assert "take a smaller step_size" in said
    assert start in said


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("objective", "what"),
    [
        (
            "contrastive_divergence(steps=1, step_size=1e-6, sampler=mala())",
            "log density up to log Z is not finite",
        ),
        ("denoising_score_matching()", "score is not finite"),
    ],
)
def test_a_diverging_energy_stops_the_run_at_its_site(tmp_path: Path, backend: str, objective: str, what: str) -> None:
    said = refused(tmp_path, backend, "potential(x) + a * exp(1000 * sum(x))", objective)
    assert said.startswith(("the loss is nan at step 1", "the loss is inf at step 1"))
    assert f"wild.yaml:10:3: x: the {what}" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_of_an_exploding_chain_are_refused_at_its_site(tmp_path: Path, backend: str) -> None:
    """E = -a x^2 pushes each chain out by the factor 1 + 2 a step_size = 1.6, sixty times."""
    spec = tmp_path / "wild.yaml"
    energy = "-a * sum(square(x)) + potential(x), sampler=langevin(steps=60, step_size=0.1)"
    spec.write_text(TEXT.format(energy=energy, objective="denoising_score_matching()"))
    with pytest.raises(RunError) as error:
        dg.compile(spec, backend=backend).initial().sample(5)
    said = str(error.value)
    assert "wild.yaml:10:3: x: in 5 of 5 samples the Markov chain exploded" in said
    assert "take a smaller step_size" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_that_are_not_numbers_are_no_log_normalizer(backend: str) -> None:
    spec = {
        "dgmppl": 1, "name": "hole", "data": {"x": {"shape": [], "support": "real"}},
        "parameters": {"a": "learned(1.0)"}, "model": {"x": "Energy(a * log(x), base=Normal(0, 1))"},
        "objective": "contrastive_divergence(steps=1)", "evaluate": {"log_z": "ais(temperatures=3, chains=16)"},
    }  # fmt: skip
    compiled = dg.compile(spec, backend=backend).compiled
    with pytest.raises(RunError, match="log Z of x: the energy is not finite along"):
        log_normalizer(compiled.program, compiled.executable, {"a": np.array(1.0)}, "x")
