"""Energy-based models end to end: equal on both backends, and against closed forms on Gaussians and small machines."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from dgmppl.backend import Device
from dgmppl.compiler import Compilation, compile_spec
from dgmppl.errors import RunError, UnsupportedError
from dgmppl.results.partition import annealed, annealed_backwards, integrated, log_normalizer, summed
from tests.support import BACKENDS, both, library_log_density, noise_for, start

ROWS = 6


def spec(model: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {"dgmppl": 1, "name": "energy", "model": model, **sections}


def real(objective: str | None = None, **sections: Any) -> dict[str, Any]:
    """A network's energy over pairs of reals."""
    given = {} if objective is None else {"objective": objective}
    return spec(
        {"x": "Energy(potential, base=Normal(0, 2))"},
        data={"x": {"shape": [2], "support": "real"}},
        networks={"potential": "mlp([5], activation=softplus)"},
        evaluate={"log_z": "ais(temperatures=9, chains=64)"},
        **given,
        **sections,
    )


def machine(objective: str, visible: int = 4, hidden: int = 3, states: str = "binary") -> dict[str, Any]:
    """A restricted Boltzmann machine."""
    units = {"binary": "binary({})"}.get(states, states)
    support = f"{{v: {states if states != 'binary' else 'binary'}, h: {units.format(hidden)}}}"
    energy = f"Energy(-(dot(b, v) + dot(c, h) + dot(v, W @ h)), support={support})"
    return spec(
        {"(v, h)": energy},
        data={"v": {"shape": [visible], "support": "binary"}},
        parameters={
            "W": f"learned(normal({visible}, {hidden}, scale=0.5))",
            "b": f"learned(zeros({visible}))",
            "c": f"learned(zeros({hidden}))",
        },
        objective=objective,
        evaluate={"log_z": "ais(temperatures=9, chains=64)"},
    )


def lattice(objective: str) -> dict[str, Any]:
    """A quadratic energy over thirteen units of three values."""
    return spec(
        {"x": "Energy(-(dot(b, x) + dot(x, J @ x)))"},
        data={"x": {"shape": [13], "support": "integer(3)"}},
        parameters={"J": "learned(normal(13, 13, scale=0.2))", "b": "learned(zeros(13))"},
        objective=objective,
    )


def with_noise(ratio: int = 1) -> dict[str, Any]:
    return {
        **real(f"noise_contrastive(noise=noise, ratio={ratio})"),
        "bijectors": {"cover": ["affine()"]},
        "model": {"u": "Normal(0, 2, shape=2)", "noise": "cover(u)", "x": "Energy(potential, base=Normal(0, 2))"},
    }


def latent(prior: str, networks: dict[str, str] | None = None, **sections: Any) -> dict[str, Any]:
    return spec(
        {"z": prior, "x": "Normal(**decoder(z))"},
        data={"x": {"shape": [3], "support": "real"}},
        networks={"encoder": "mlp([4])", "decoder": "mlp([4])", **(networks or {})},
        guide={"z": "Normal(**encoder(x))"},
        **sections,
    )


SPECS: dict[str, dict[str, Any]] = {
    "denoising": real(),
    "sliced": real("sliced_score_matching()"),
    "sliced by three": real("sliced_score_matching(projections=3)"),
    "implicit": real("implicit_score_matching()"),
    "langevin": real("contrastive_divergence(steps=4, step_size=0.05, sampler=langevin(clip=1.5))"),
    "mala": real("contrastive_divergence(steps=4, sampler=mala(step_size=0.3))"),
    "hmc": real("contrastive_divergence(steps=3, sampler=hmc(step_size=0.3, leapfrog=3))"),
    "noise contrastive": with_noise(),
    "noise contrastive by three": with_noise(3),
    "machine": machine("contrastive_divergence(steps=2, sampler=gibbs())", visible=14),
    "machine by gradients": machine("contrastive_divergence(steps=3, sampler=gibbs_with_gradients())", visible=14),
    "lattice by sweeps": lattice("contrastive_divergence(steps=2, sampler=gibbs())"),
    "lattice by gradients": lattice("contrastive_divergence(steps=3)"),
    "latent": latent("Energy(tilt, base=Normal(0, 1), shape=2)", {"tilt": "mlp([4], activation=tanh)"}),
}


def rows_of(compiled: Compilation, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    generator, batch = np.random.default_rng(seed), {}
    for name, column in compiled.program.columns.items():
        states = column.support.states if column.support is not None else None
        shape = (rows, *column.shape)
        batch[name] = generator.normal(size=shape) if states is None else generator.integers(states, size=shape)
    return batch


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


# ---- Gaussian data: closed forms ------------------------------------------------------------------------------------

SMOOTHING = 0.4


def quadratic(objective: str) -> Compilation:
    """E(x) = x^T P x / 2 with a free matrix P."""
    return compile_spec(
        spec(
            {"x": "Energy(0.5 * dot(x, P @ x))"},
            data={"x": {"shape": [2], "support": "real"}},
            parameters={"P": "learned(normal(2, 2))"},
            objective=objective,
        )
    )


def design(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Data, each point four times, with noise whose mean is 0 and whose covariance is I within every four."""
    generator = np.random.default_rng(seed)
    x = generator.multivariate_normal(np.zeros(2), [[1.0, 0.5], [0.5, 0.8]], size=rows)
    directions = math.sqrt(2.0) * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    return np.repeat(x, 4, axis=0), np.tile(directions, (rows, 1))


def slope(compiled: Compilation, precision: np.ndarray, x: np.ndarray, noise: dict[str, np.ndarray]) -> np.ndarray:
    return compiled.executable.loss("model", {"P": precision}, {"x": x}, noise=noise, gradient=True)[1]["P"]


def second_moment(x: np.ndarray) -> np.ndarray:
    return x.T @ x / len(x)


@pytest.mark.parametrize("kind", ["implicit", "sliced"])
def test_implicit_and_sliced_score_matching_recover_the_precision(kind: str) -> None:
    x, _ = design(25)
    compiled = quadratic(f"{kind}_score_matching({'projections=2' if kind == 'sliced' else ''})")
    unit = np.broadcast_to(math.sqrt(2.0) * np.eye(2), (len(x), 2, 2))
    noise = {"x.direction": unit} if kind == "sliced" else {}
    precision = np.linalg.inv(second_moment(x))
    np.testing.assert_allclose(slope(compiled, precision, x, noise), 0.0, atol=1e-12)
    assert np.abs(slope(compiled, precision + 0.1 * np.eye(2), x, noise)).max() > 1e-3
    value = compiled.executable.loss("model", {"P": precision}, {"x": x}, noise=noise)[0]
    assert value == pytest.approx(-0.5 * np.trace(precision), rel=1e-10)


def test_denoising_score_matching_recovers_the_precision_of_the_smoothed_data() -> None:
    x, eps = design(25)
    compiled = quadratic(f"denoising_score_matching(sigma={SMOOTHING})")
    precision = np.linalg.inv(second_moment(x) + SMOOTHING**2 * np.eye(2))
    np.testing.assert_allclose(slope(compiled, precision, x, {"x.smoothing": eps}), 0.0, atol=1e-12)
    assert np.abs(slope(compiled, np.linalg.inv(second_moment(x)), x, {"x.smoothing": eps})).max() > 1e-3


def test_denoising_has_the_gradient_of_score_matching_on_the_smoothed_data() -> None:
    x, eps = design(25)
    precision = np.array([[1.3, 0.2], [0.4, 0.7]])
    denoising = slope(quadratic(f"denoising_score_matching(sigma={SMOOTHING})"), precision, x, {"x.smoothing": eps})
    implicit = slope(quadratic("implicit_score_matching()"), precision, x + SMOOTHING * eps, {})
    np.testing.assert_allclose(denoising, implicit, rtol=1e-10, atol=1e-12)


def test_noise_contrast_recovers_the_log_normalizer_of_a_gaussian() -> None:
    compiled = compile_spec(
        spec(
            {"noise": "Normal(0, 1.5, shape=1)", "x": "Energy(0.5 * a * sum(square(x)))"},
            data={"x": {"shape": [1], "support": "real"}},
            parameters={"a": "learned(positive())"},
            objective="noise_contrastive(noise=noise)",
        )
    )
    found = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        x, noise = generator.standard_normal((1500, 1)), {"noise@noise": generator.standard_normal((1500, 1))}

        def loss(
            point: np.ndarray, x: np.ndarray = x, noise: dict[str, np.ndarray] = noise
        ) -> tuple[float, np.ndarray]:
            raw, constant = point
            values = {"a": np.array(np.log1p(np.exp(raw))), "log_normalizer.x": np.array(constant)}
            value, slopes, _ = compiled.executable.loss("model", values, {"x": x}, noise=noise, gradient=True)
            # The gradient is by the unconstrained array; a numerical one is taken for a, so that no bijection matters.
            shift = 1e-6
            moved = {**values, "a": np.array(np.log1p(np.exp(raw + shift)))}
            higher = compiled.executable.loss("model", moved, {"x": x}, noise=noise)[0]
            return value, np.array([(higher - value) / shift, slopes["log_normalizer.x"]])

        found.append(optimize.minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B").x[1])
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - 0.5 * math.log(2.0 * math.pi)) < 3 * error
    assert error < 0.05


# ---- machines with few units ----------------------------------------------------------------------------------------


def bits(count: int) -> np.ndarray:
    return np.array(list(itertools.product(range(2), repeat=count)), float)


def joint(values: dict[str, np.ndarray], v: np.ndarray, h: np.ndarray) -> np.ndarray:
    """log p~(v, h) of every pair, [.., V, H]."""
    return (v @ values["b"])[:, None] + (h @ values["c"])[None] + v @ values["W"] @ h.T


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


@pytest.mark.parametrize("backend", BACKENDS)
def test_persistent_chains_go_on_between_steps_and_after_a_restart(backend: str) -> None:
    objective = "contrastive_divergence(steps=3, step_size=0.05, persistent=True)"
    compiled = compile_spec(real(objective, train={"batch_size": ROWS}), backend=backend)
    values = {name: value.astype(np.float32) for name, value in start(compiled).items()}
    data = {"x": rows_of(compiled, 4 * ROWS)["x"].astype(np.float32)}
    lines = np.arange(4 * ROWS).reshape(4, ROWS)

    def trainer() -> Any:
        settings = compiled.program.train
        return compiled.executable.trainer(values, data, settings, steps=4, seed=0, device=Device("cpu"))

    whole, first, second = trainer(), trainer(), trainer()
    before = {name: value.copy() for name, value in whole.state().items() if name.endswith("x.chain")}
    assert [value.shape for value in before.values()] == [(ROWS, 2)]
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


# ---- log Z -----------------------------------------------------------------------------------------------------------

TILT = np.array([[2.0, 0.3], [0.3, 1.0]])


def tilted(log_z: str) -> Compilation:
    """N(0, 4 I) exp(-x^T P x / 2)."""
    return compile_spec(
        spec(
            {"x": "Energy(0.5 * dot(x, P @ x), base=Normal(0, 2))"},
            data={"x": {"shape": [2], "support": "real"}},
            parameters={"P": "learned(normal(2, 2))"},
            objective="implicit_score_matching()",
            evaluate={"log_z": log_z},
        )
    )


def two_wells(log_z: str) -> Compilation:
    """N(x; 0, 1) (exp(c . x - c^2 / 2) + exp(-c . x - c^2 / 2)) / 2, whose Z is 1."""
    return compile_spec(
        spec(
            {"x": "Energy(-(logsumexp(stack(dot(c, x), -dot(c, x))) - 0.5 * dot(c, c) - log(2)), base=Normal(0, 1))"},
            data={"x": {"shape": [2], "support": "real"}},
            parameters={"c": "learned(normal(2))"},
            objective="implicit_score_matching()",
            evaluate={"log_z": log_z},
        )
    )


Known = tuple[Compilation, dict[str, np.ndarray], str, float, Any]


def known(model: str, temperatures: int) -> Known:
    """A model with its parameters, its site, log Z, and a function (generator, n) -> exact draws."""
    ais = f"ais(temperatures={temperatures}, chains=64)"
    if model == "gaussian":
        precision = TILT + np.eye(2) / 4.0
        exact = -0.5 * math.log(16.0 * np.linalg.det(precision))
        covariance = np.linalg.inv(precision)
        return tilted(ais), {"P": TILT}, "x", exact, lambda g, n: g.multivariate_normal([0.0, 0.0], covariance, n)
    if model == "two wells":
        c = np.array([1.5, 0.5])
        return (
            two_wells(ais),
            {"c": c},
            "x",
            0.0,
            lambda g, n: g.choice([-1.0, 1.0], size=(n, 1)) * c + g.standard_normal((n, 2)),
        )
    compiled = compile_spec(
        {**machine("contrastive_divergence(steps=1, sampler=gibbs())", 14, 6), "evaluate": {"log_z": ais}}
    )
    values = {**start(compiled, jitter=0.0), "W": np.random.default_rng(3).normal(size=(14, 6)) * 0.5}
    energies = joint(values, bits(14), bits(6))
    weights = np.logaddexp.reduce(energies, 1)
    exact = float(np.logaddexp.reduce(weights))
    return compiled, values, "v", exact, lambda g, n: bits(14)[g.choice(2**14, size=n, p=np.exp(weights - exact))]


@pytest.mark.parametrize("model", ["gaussian", "two wells", "machine"])
def test_annealing_brackets_a_known_log_normalizer(model: str) -> None:
    compiled, values, site, exact, draws = known(model, temperatures=100)
    runs = 100
    forward = [annealed(compiled.executable, values, site, 64, seed) for seed in range(runs)]
    generator = np.random.default_rng(0)
    reverse = [
        annealed_backwards(compiled.executable, values, site, draws(generator, 64), seed) for seed in range(runs)
    ]
    ratios = np.exp([one.value - exact for one in forward])
    assert abs(ratios.mean() - 1.0) < 3 * ratios.std(ddof=1) / math.sqrt(runs)
    for found, side in ((forward, 1.0), (reverse, -1.0)):
        off = side * (np.array([one.value for one in found]) - exact)
        assert off.mean() < 3 * off.std(ddof=1) / math.sqrt(runs)
        errors = np.array([one.standard_error for one in found])
        assert (np.abs(off) < 3 * errors).sum() >= 95
        assert np.median(errors) <= 0.1


@pytest.mark.parametrize("backend", BACKENDS)
def test_quadrature_and_summation_are_exact(backend: str) -> None:
    compiled, values, site, exact, _ = known("gaussian", 1)
    compiled = compile_spec(compiled.spec, backend=backend)
    found = integrated(compiled.executable, values, compiled.program.by_name[site], 200)
    assert found.value == pytest.approx(exact, abs=1e-10)
    compiled, values, site, exact, _ = known("machine", 1)
    compiled = compile_spec(compiled.spec, backend=backend)
    assert summed(compiled.executable, values, compiled.program.by_name[site]).value == pytest.approx(exact, abs=1e-10)


def test_a_score_is_normalized_with_an_error_bar_and_said_to_be_an_estimate() -> None:
    import dgmppl as dg

    x = np.random.default_rng(0).standard_normal((50, 2))
    program = dg.compile(tilted("ais(temperatures=100, chains=256)").spec, bindings={"x": x})
    score = program.at({"P": TILT}).score(x)
    precision = TILT + np.eye(2) / 4.0
    exact = 0.5 * np.log(np.linalg.det(precision)) - math.log(2 * math.pi) - 0.5 * ((x @ precision) * x).sum(1)
    assert score.status == "estimate"
    assert score.log_z_error is not None
    assert 0.0 < score.log_z_error < 0.1
    off = score.values - exact
    np.testing.assert_allclose(off, off[0], atol=1e-9)
    assert abs(off[0]) < 4 * score.log_z_error


def test_a_log_normalizer_that_may_be_infinite_is_refused() -> None:
    compiled = quadratic("implicit_score_matching()")
    with pytest.raises(RunError, match="may be infinite"):
        log_normalizer(compiled.program, compiled.executable, {"P": TILT}, "x")
