"""Diffusions as programs on both backends: bounds, losses, draws and completions at equal noise; and as priors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dgmppl.compiler import compile_spec
from dgmppl.errors import UnsupportedError
from tests.support import BACKENDS, both, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

Spec = dict[str, Any]
ROWS = 5


def spec(density: str, **others: Any) -> Spec:
    return {
        "dgmppl": 1,
        "name": "noised",
        "data": {"x": {"shape": [3], "support": "real"}, "c": {"shape": [2], "support": "real"}},
        "networks": {"denoiser": "mlp([7], activation=silu, time=embedding(4))"},
        "model": {"x": density},
        **others,
    }


def batch() -> dict[str, Any]:
    generator = np.random.default_rng(4)
    return {"x": generator.standard_normal((ROWS, 3)), "c": generator.standard_normal((ROWS, 2))}


def results(declared: Spec, name: str, given: Any, particles: int | None = None) -> dict[str, Any]:
    """A function's results on both backends, with the same parameters and noise; a loss with its gradients."""
    compiled = both(declared)
    function = compiled["pyro"].module.function(name)
    assert function is not None, [known.name for known in compiled["pyro"].module.functions]
    values, noise = start(compiled["pyro"]), noise_for(function, ROWS, particles)
    found = {}
    for backend in BACKENDS:
        executable = compiled[backend].executable
        if function.kind == "loss":
            loss, gradients, _ = executable.loss(name.removeprefix("loss_"), values, given, noise=noise, gradient=True)
            found[backend] = {"loss": loss, **gradients}
        else:
            arguments = {"noise": noise, "rows": ROWS, "particles": particles or 1}
            found[backend] = executable.call(name, values, given, **arguments)
    return found


def agree(found: dict[str, Any]) -> None:
    assert found["pyro"].keys() == found["numpyro"].keys()
    for name, value in found["pyro"].items():
        assert np.isfinite(value).all(), name
        np.testing.assert_allclose(value, found["numpyro"][name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("steps", ["", ", steps=20"])
@pytest.mark.parametrize("schedule", ["cosine()", "linear()", "sigmoid()", "edm()", "variance_exploding()"])
def test_losses_and_bounds_agree_in_every_schedule(schedule: str, steps: str) -> None:
    declared = spec(f"Diffusion(denoiser, schedule={schedule}{steps}, predict=velocity)")
    agree(results(declared, "loss_model", batch()))
    agree(results(declared, "elbo", batch(), particles=4))


@pytest.mark.parametrize("weighting", ["simple", "min_snr", "edm"])
@pytest.mark.parametrize("predict", ["noise", "data", "score"])
def test_losses_agree_in_every_weighting_and_parameterization(weighting: str, predict: str) -> None:
    agree(results(spec(f"Diffusion(denoiser, c, predict={predict}, weighting={weighting})"), "loss_model", batch()))


@pytest.mark.parametrize("options", ["schedule=learned(), steps=20, variance=learned", "steps=20, variance=beta"])
def test_learned_schedules_and_variances_agree_in_chains(options: str) -> None:
    """The bound is descended by all that is learned."""
    declared = spec(f"Diffusion(denoiser, c, {options})")
    found = results(declared, "loss_model", batch())
    agree(found)
    assert all(np.abs(value).max() > 0 for value in found["pyro"].values())
    learned = {"x.log_snr.last", "x.log_snr.span", "x.log_snr.shares", "x.errors"}
    assert learned & set(found["pyro"]) == (learned if "learned" in options else set())
    agree(results(declared, "elbo", batch(), particles=4))
    agree(results(declared, "sample", {"c": batch()["c"]}))


def test_a_learned_schedule_in_continuous_time_has_a_player_of_its_own() -> None:
    """The bound moves the ends, its square what lies between; the square is that of the same estimates."""
    declared = spec("Diffusion(denoiser, c, schedule=learned())", evaluate={"sampler": "heun(steps=6)"})
    model, schedule = (results(declared, f"loss_{player}", batch()) for player in ("model", "schedule"))
    agree(model)
    agree(schedule)
    assert set(schedule["pyro"]) == {"loss", "x.log_snr.shares"}
    assert {"x.log_snr.last", "x.log_snr.span"} < set(model["pyro"])
    assert "x.log_snr.shares" not in model["pyro"]
    assert all(np.abs(value).max() > 0 for found in (model, schedule) for value in found["pyro"].values())
    agree(results(declared, "elbo", batch(), particles=2))
    agree(results(declared, "sample", {"c": batch()["c"]}))
    assert schedule["pyro"]["loss"] >= model["pyro"]["loss"] ** 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_unet_denoises_images_and_stands_alone(backend: str) -> None:
    declared = spec("Diffusion(denoiser, c, steps=12, predict=velocity)")
    declared["data"]["x"] = {"shape": [4, 6], "support": "real"}
    declared["networks"] = {"denoiser": "unet([4, 6], groups=2, heads=2, time=embedding(4))"}
    given, numbers = {"c": batch()["c"], "x": np.random.default_rng(6).standard_normal((ROWS, 4, 6))}, []
    for name, standalone in ((backend, False), (backend, True), (BACKENDS[0], False)):
        compiled = compile_spec(declared, backend=name, standalone=standalone)
        function = compiled.module.function("elbo")
        assert function is not None
        noise = noise_for(function, ROWS, 2)
        numbers.append(compiled.executable.call("elbo", start(compiled), given, noise=noise, particles=2)["value"])
    np.testing.assert_array_equal(numbers[0], numbers[1])
    np.testing.assert_allclose(numbers[0], numbers[2], rtol=1e-9)


SAMPLERS = (
    "ancestral()", "ddim(steps=6)", "ddim(steps=6, eta=0.5)", "dpm_solver_pp(steps=6)", "euler(steps=6)",
    "heun(steps=6)", "sde(steps=6)", "sde(steps=6, solver=heun)", "ode(steps=6, solver=rk4)",
)  # fmt: skip


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_and_completions_agree_for_every_sampler(sampler: str) -> None:
    declared = spec("Diffusion(denoiser, c, schedule=sigmoid(), steps=12)", evaluate={"sampler": sampler})
    given = {"c": batch()["c"]}
    agree(results(declared, "sample", given))
    mask = np.array([[True, False, False]] * ROWS)
    completed = results(declared, "complete", {**given, "x": np.full((ROWS, 3), 0.3), "x.given": mask})
    agree(completed)
    assert (completed["pyro"]["x"][:, 0] == 0.3).all()


@pytest.mark.slow
def test_the_density_of_the_flow_agrees_and_stands_beside_the_bound() -> None:
    declared = spec("Diffusion(denoiser, c, schedule=sigmoid(), steps=12)", evaluate={"log_prob": "ode(rtol=1e-9)"})
    found = results(declared, "ode_log_prob", batch())
    np.testing.assert_allclose(found["pyro"]["value"], found["numpyro"]["value"], rtol=1e-6, atol=1e-6)
    assert both(declared)["pyro"].module.function("log_prob") is None


PRIOR = {
    "dgmppl": 1,
    "name": "latent",
    "data": {"x": {"shape": [4], "support": "real"}},
    "networks": {
        "denoiser": "mlp([6], time=embedding(4))",
        "encoder": "mlp([6])",
        "decoder": "mlp([6])",
    },
    "model": {
        "z": "Diffusion(denoiser, schedule=linear(), steps=10, predict=velocity, shape=2)",
        "x": "Normal(decoder(z), 0.5)",
    },
    "guide": {"z": "Normal(**encoder(x))"},
}


def test_a_diffusion_is_the_prior_of_a_latent() -> None:
    """The loss is that of the decoder and the encoder's entropy with the bound in place of log p(z)."""
    given = {"x": np.random.default_rng(5).standard_normal((ROWS, 4))}
    found = results(PRIOR, "loss_model", given)
    agree(found)
    assert all(np.abs(value).max() > 0 for name, value in found["pyro"].items() if name.endswith("weight"))
    agree(results(PRIOR, "elbo", given, particles=3))
    agree(results(PRIOR, "sample", {}))
    names = {function.name for function in both(PRIOR)["pyro"].module.functions}
    assert "log_weights" not in names
    assert {"elbo", "encode", "decode", "sample"} <= names


def test_the_schedule_of_a_prior_is_learned_with_encoder_and_decoder() -> None:
    """Its player descends the square of the whole bound's estimate."""
    model = {**PRIOR["model"], "z": "Diffusion(denoiser, schedule=learned(), predict=velocity, shape=2)"}
    given = {"x": np.random.default_rng(5).standard_normal((ROWS, 4))}
    found = {player: results({**PRIOR, "model": model}, f"loss_{player}", given) for player in ("model", "schedule")}
    for player, numbers in found.items():
        agree(numbers)
        assert ("z.log_snr.shares" in numbers["pyro"]) == (player == "schedule")
    assert np.abs(found["schedule"]["pyro"]["z.log_snr.shares"]).max() > 0
    assert found["schedule"]["pyro"]["loss"] >= found["model"]["pyro"]["loss"] ** 2


def test_dropped_conditions_become_a_learned_null_that_guidance_reads() -> None:
    """Half of the rows train the null; only losses drop; guided draws need what training dropped."""
    density = "Diffusion(denoiser, c, schedule=sigmoid(), steps=12, drop=0.5, weighting=simple)"
    declared = spec(density, evaluate={"sampler": "ddim(steps=4, guidance=3)"})
    found = results(declared, "loss_model", batch())
    agree(found)
    assert np.abs(found["pyro"]["x.null"]).max() > 0
    agree(results(declared, "sample", {"c": batch()["c"]}))
    compiled = both(declared)["pyro"]
    function = compiled.module.function("elbo")
    assert function is not None
    assert "x.null" not in dict(function.groups)
    assert any("from no density of the model" in note for note in compiled.derivation.notes)


def test_importance_weights_with_a_bound_inside_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="importance-weighted bound over the diffusion 'z'"):
        compile_spec({**PRIOR, "objective": "iwae(particles=5)"}).module  # noqa: B018


def test_a_sampler_of_energies_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="the sampler 'langevin' of a diffusion"):
        compile_spec(spec("Diffusion(denoiser)", evaluate={"sampler": "langevin()"})).module  # noqa: B018


@pytest.mark.parametrize("options", ["schedule=edm()", "schedule=learned(), variance=learned"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_standalone_text_needs_no_dgmppl_and_gives_the_same_numbers(backend: str, options: str) -> None:
    declared = spec(f"Diffusion(denoiser, c, {options}, steps=12)", evaluate={"sampler": "heun(steps=5)"})
    numbers = []
    for standalone in (False, True):
        compiled = compile_spec(declared, backend=backend, standalone=standalone)
        assert ("from dgmppl" in compiled.source) != standalone
        values = start(compiled)
        function = compiled.module.function("elbo")
        assert function is not None
        noise = noise_for(function, ROWS, 2)
        numbers.append(compiled.executable.call("elbo", values, batch(), noise=noise, particles=2)["value"])
    np.testing.assert_array_equal(numbers[0], numbers[1])


def test_standalone_text_cannot_solve_differential_equations() -> None:
    declared = spec("Diffusion(denoiser)", evaluate={"log_prob": "ode()"})
    with pytest.raises(UnsupportedError, match="a differential equation in standalone text"):
        compile_spec(declared, backend="numpyro", standalone=True).source  # noqa: B018
