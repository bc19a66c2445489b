"""Energy-based models end to end: equal on both backends, and against closed forms on small machines and priors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dgmppl.backend import Device
from dgmppl.compiler import compile_spec
from dgmppl.errors import UnsupportedError
from tests.energies import (
    ROWS,
    binary_pair,
    bits,
    bounded,
    conditional_on_noise,
    joint,
    known_density,
    latent,
    lattice,
    machine,
    pair,
    real,
    rows_of,
    spec,
    with_noise,
)
from tests.support import BACKENDS, both, library_log_density, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPECS: dict[str, dict[str, Any]] = {
    "denoising": real(),
    "denoising at a falling noise": real("denoising_score_matching(sigma=linear(1, 0.1, steps=9))"),
    "denoising at three noises": real("denoising_score_matching(sigma=1, levels=3)"),
    "denoising at two noises": real("denoising_score_matching(sigma=1, smallest=0.3, levels=2, power=1)"),
    "conditional on the noise": conditional_on_noise("denoising_score_matching(sigma=2, levels=5, level=tau)"),
    "explicit": known_density(),
    "sliced": real("sliced_score_matching()"),
    "sliced by three": real("sliced_score_matching(projections=3)"),
    "implicit": real("implicit_score_matching()"),
    "langevin": real("contrastive_divergence(steps=4, step_size=0.05, sampler=langevin(clip=1.5))"),
    # Chains that all begin anew, so that they do not depend on where the backends' own random numbers began.
    "persistent": real("contrastive_divergence(steps=2, step_size=0.05, persistent=True, reinit=1)"),
    "from a buffer": real(
        "contrastive_divergence(steps=2, step_size=0.05, buffer=20, reinit=1)", train={"batch_size": ROWS}
    ),
    "mala": real("contrastive_divergence(steps=4, sampler=mala(step_size=0.3))"),
    "hmc": real("contrastive_divergence(steps=3, sampler=hmc(step_size=0.3, leapfrog=3))"),
    "noise contrastive": with_noise(),
    "noise contrastive by three": with_noise(3),
    "machine": machine("contrastive_divergence(steps=2, sampler=gibbs())", visible=14),
    "machine by gradients": machine("contrastive_divergence(steps=3, sampler=gibbs_with_gradients())", visible=14),
    "lattice by sweeps": lattice("contrastive_divergence(steps=2, sampler=gibbs())"),
    "lattice by gradients": lattice("contrastive_divergence(steps=3)"),
    "joint, denoising": pair(),
    "joint, sliced": pair("sliced_score_matching(projections=2)"),
    "joint, implicit": pair("implicit_score_matching()"),
    "joint, hmc": pair("contrastive_divergence(steps=2, sampler=hmc(step_size=0.3, leapfrog=2))"),
    "joint, discrete": binary_pair("contrastive_divergence(steps=2)", 12),
    "positive": bounded("positive", "LogNormal(0.2, 1.3)"),
    "positive, by chains": bounded("positive", "LogNormal(0.2, 1.3)", "contrastive_divergence(steps=2)"),
    "unit": bounded("unit", None),
    "latent": latent("Energy(tilt, base=Normal(0, 1), shape=2)", {"tilt": "mlp([4], activation=tanh)"}),
}


@pytest.mark.parametrize("name", SPECS)
def test_every_function_is_equal_on_both_backends(name: str) -> None:
    one, two = both(SPECS[name]).values()
    values, batch = start(one, jitter=0.3), rows_of(one, ROWS)
    for player, _, _ in one.module.players:
        noise = noise_for(one.module.function(f"loss_{player}"), ROWS)
        first, second = (
            compiled.executable.loss(player, values, batch, noise=noise, gradient=True) for compiled in (one, two)
        )
        assert first[0] == pytest.approx(second[0], rel=1e-9, abs=1e-9)
        assert first[1].keys() == second[1].keys()
        for key, slope in first[1].items():
            np.testing.assert_allclose(slope, second[1][key], rtol=1e-9, atol=1e-9)
        assert any(np.abs(slope).max() > 1e-6 for slope in first[1].values())
    for function in one.module.functions:
        if function.kind not in {"density", "sample"}:
            continue
        given = {
            **batch,
            **{column: np.zeros((ROWS, 2)) + 0.3 for column, _ in function.columns if column not in batch},
        }
        noise = noise_for(function, ROWS, particles=2)
        found = [
            compiled.executable.call(function.name, values, given, noise=noise, particles=2, rows=ROWS)
            for compiled in (one, two)
        ]
        for key, value in found[0].items():
            np.testing.assert_allclose(value, found[1][key], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_librarys_model_has_the_density_up_to_log_z(backend: str) -> None:
    compiled = compile_spec(real(), backend=backend)
    values, batch = start(compiled, jitter=0.3), rows_of(compiled, ROWS)
    found = library_log_density(backend, compiled.executable.library_model(values), batch, {})
    expected = compiled.executable.call("log_unnormalized", values, batch)["value"].sum()
    assert found == pytest.approx(expected, rel=1e-10)


# ---- machines with few units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_small_machine_is_normalized_by_summation(backend: str) -> None:
    compiled = compile_spec(machine("mle()"), backend=backend)
    assert compiled.derivation.status == "exact"
    values, states = start(compiled, jitter=0.4), bits(4)
    log_p = compiled.executable.call("log_prob", values, {"v": states.astype(int)})["value"]
    assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-12)
    energies = joint(values, states, bits(3))
    expected = np.logaddexp.reduce(energies, 1) - np.logaddexp.reduce(energies, None)
    np.testing.assert_allclose(log_p, expected, rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_joint_energy_of_data_is_normalized_over_all_of_its_sites(backend: str) -> None:
    compiled = compile_spec(binary_pair("mle()", 3), backend=backend)
    values, states = start(compiled, jitter=0.4), bits(5).astype(int)
    batch = {"a": states[:, :3], "b": states[:, 3:]}
    log_p = compiled.executable.call("log_prob", values, batch)["value"]
    energies = np.einsum("ni,ij,nj->n", batch["a"], values["W"], batch["b"])
    np.testing.assert_allclose(log_p, energies - np.logaddexp.reduce(energies), rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_free_energy_and_hidden_probabilities_are_those_of_enumeration(backend: str) -> None:
    compiled = compile_spec(SPECS["machine"], backend=backend)
    values, batch = start(compiled, jitter=0.4), rows_of(compiled, 9)
    energies = joint(values, batch["v"].astype(float), bits(3))
    found = compiled.executable.call("log_unnormalized", values, batch)["value"]
    np.testing.assert_allclose(found, np.logaddexp.reduce(energies, 1), rtol=1e-10)
    weights = np.exp(energies - np.logaddexp.reduce(energies, 1)[:, None])
    probabilities = compiled.executable.call("posterior", values, batch)["h.probs"]
    np.testing.assert_allclose(probabilities, weights @ bits(3), rtol=1e-10)


def test_the_expected_gradient_of_contrastive_divergence_tends_to_the_exact_one() -> None:
    """Twenty units, fourteen visible and six hidden; the bias falls with the chain's length to below the noise."""
    visible, hidden, rows = 14, 6, 20_000
    biases, errors = [], []
    for steps in (1, 5, 40):
        text = f"contrastive_divergence(steps={steps}, sampler=gibbs())"
        compiled = compile_spec(machine(text, visible, hidden))
        values = {**start(compiled, jitter=0.0), "W": np.random.default_rng(3).normal(size=(visible, hidden)) * 0.8}
        x = np.repeat((np.random.default_rng(4).uniform(size=(1, visible)) < 0.5).astype(int), rows, axis=0)
        noise = noise_for(compiled.module.function("loss_model"), rows, seed=steps)
        gradient = compiled.executable.loss("model", values, {"v": x}, noise=noise, gradient=True)[1]["b"]
        energies = joint(values, bits(visible), bits(hidden))
        weights = np.exp(np.logaddexp.reduce(energies, 1) - np.logaddexp.reduce(energies, None))
        exact = weights @ bits(visible) - x[0]
        biases.append(np.linalg.norm(gradient - exact))
        mean = weights @ bits(visible)
        errors.append(math.sqrt((mean * (1 - mean)).sum() / rows))
    assert biases[0] > biases[1] > biases[2]
    assert biases[0] > 20 * errors[0]
    assert biases[2] < 4 * errors[2]


# ---- energies as priors ---------------------------------------------------------------------------------------------


def test_encoder_and_decoder_follow_the_exact_bound() -> None:
    """exp(-E) N(z; 0, 1) with E = 1.5 z^2 is N(0, 1/4) up to Z = 1/2, which a mixture of equals says exactly."""
    energy = compile_spec(latent("Energy(1.5 * sum(square(z)), base=Normal(0, 1), shape=1)"))
    exact = compile_spec(latent("Mixture(Normal, weights=[0.5, 0.5], loc=[[0, 0]], scale=[[0.5, 0.5]])"))
    values, batch = start(energy), rows_of(energy, ROWS)
    noise = noise_for(energy.module.function("loss_model"), ROWS)
    one, two = (
        compiled.executable.loss("model", values, batch, noise=noise, gradient=True) for compiled in (energy, exact)
    )
    grid = np.linspace(-8.0, 8.0, 4001)[:, None]
    log_p = energy.executable.call("unnormalized_z", values, {"z": grid})["value"]
    log_z = math.log(np.trapezoid(np.exp(log_p), grid[:, 0]))
    assert log_z == pytest.approx(math.log(0.5), abs=1e-9)
    assert one[0] + log_z == pytest.approx(two[0], abs=1e-8)
    for name in two[1]:
        np.testing.assert_allclose(one[1][name], two[1][name], rtol=1e-6, atol=1e-9)


def test_the_energys_gradient_is_contrastive() -> None:
    rows, coefficient = 20_000, 1.5
    compiled = compile_spec(
        latent(
            "Energy(a * sum(square(z)), base=Normal(0, 1), shape=1, sampler=mala(steps=30, step_size=0.2))",
            parameters={"a": "learned(normal())"},
        )
    )
    values = {**start(compiled), "a": np.array(coefficient)}
    batch = {"x": np.repeat(rows_of(compiled, 1)["x"], rows, axis=0)}
    noise = noise_for(compiled.module.function("loss_energy"), rows)
    found = compiled.executable.loss("energy", values, batch, noise=noise, gradient=True)[1]["a"]
    z = compiled.executable.call("encode", values, batch, noise={"z": noise["z"][None]}, particles=1)["z"]
    variance = 1.0 / (1.0 + 2.0 * coefficient)
    error = variance * math.sqrt(2.0 / rows)
    assert abs(found - (np.mean(z**2) - variance)) < 4 * error


# ---- chains in the run's state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [None, 11])
@pytest.mark.parametrize("backend", BACKENDS)
def test_persistent_chains_go_on_between_steps_and_after_a_restart(backend: str, kept: int | None) -> None:
    which = "persistent=True" if kept is None else f"buffer={kept}, reinit=0.2"
    objective = f"contrastive_divergence(steps=3, step_size=0.05, {which})"
    compiled = compile_spec(real(objective, train={"batch_size": ROWS}), backend=backend)
    values = {name: value.astype(np.float32) for name, value in start(compiled).items()}
    data = {"x": rows_of(compiled, 4 * ROWS)["x"].astype(np.float32)}
    lines = np.arange(4 * ROWS).reshape(4, ROWS)

    def trainer() -> Any:
        settings = compiled.program.train
        return compiled.executable.trainer(values, data, settings, steps=4, seed=0, device=Device("cpu"))

    whole, first, second = trainer(), trainer(), trainer()
    before = {name: value.copy() for name, value in whole.state().items() if name.endswith("x.chain")}
    assert [value.shape for value in before.values()] == [(kept or ROWS, 2)]
    whole.advance(lines)
    first.advance(lines[:2])
    second.restore(first.state())
    second.advance(lines[2:])
    for name, value in whole.state().items():
        np.testing.assert_array_equal(value, second.state()[name])
    for name, value in before.items():
        assert not np.array_equal(value, whole.state()[name])


def test_a_samplers_positional_settings_count() -> None:
    compiled = compile_spec(real("contrastive_divergence(sampler=mala(7, 0.25))"))
    loss = compiled.module.function("loss_model")
    assert [(entry.name, entry.shape) for entry in loss.noise] == [("x.chain", (7, 2)), ("x.accept", (7,))]
    assert "step_size=0.25" in compiled.source


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "objective", "what"),
    [
        ({"x": "Energy(f(x, c))"}, "contrastive_divergence(persistent=True)", "persistent chain of 'x'"),
    ],
)
def test_what_no_chain_can_do_is_refused_with_its_line(model: dict[str, str], objective: str, what: str) -> None:
    declared = spec(
        model,
        data={"x": {"shape": [2], "support": "real"}, "c": {"shape": [2], "support": "real"}},
        networks={"f": "mlp([3])"},
        objective=objective,
    )
    with pytest.raises(UnsupportedError, match=what):
        compile_spec(declared).module  # noqa: B018
