"""Finished runs inside other models: the numbers are those of the run's own program, and nothing of it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from torch import nn

from dgmppl.compiler import Compilation, compile_spec
from tests.finished import CODES, FLOW, MADE, MIXTURE, ROWS, VAE, Spec, arrays, finish, frozen_of
from tests.support import BACKENDS, Values, library_log_density, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

PRIOR = "Diffusion(denoiser, schedule=cosine(), steps=10, predict=noise"
DENOISER = {"denoiser": "mlp([8], time=embedding(4))"}
STAGE_TWO: Spec = {
    **VAE,
    "name": "stage two",
    "networks": DENOISER,
    "model": {"z": f"{PRIOR})", "x": 'Trained("vae", given=z)'},
}
STAGE_TWO.pop("guide")
JOINT: Spec = {
    **VAE,
    "networks": {**VAE["networks"], **DENOISER},
    "model": {"z": f"{PRIOR}, shape={CODES})", "x": "Bernoulli(logits=decoder(z))"},
}
# The prior is the image of a base, and one random variable with it.
IMAGE: Spec = {
    **VAE,
    "name": "image",
    "bijectors": {"flow": "[coupling(mlp([4]), affine()), permute()]"},
    "model": {"e": f"Normal(0, 1, shape={CODES})", "z": "flow(e)", "x": "Bernoulli(logits=decoder(z))"},
}
CODE: Spec = {
    **STAGE_TWO,
    "data": {"z": {"shape": [CODES], "support": "real"}},
    "model": {"z": f"{PRIOR})"},
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compiled(spec: Spec, backend: str, **data: Any) -> Compilation:
    return compile_spec(spec, backend=backend, bindings=data or None)


def renamed(values: Values) -> Values:
    """A stage-two model's parameters under the names of a model that declares all of it."""
    return {name.removeprefix("x."): value for name, value in values.items()}


def weights_of(compilation: Compilation, values: Values, batch: Values, noise: Values) -> Values:
    """One particle's log weight, per row."""
    called = compilation.executable.call("log_weights", values, batch, noise=noise, rows=ROWS, particles=1)
    return {name: np.squeeze(value) for name, value in called.items()}


@pytest.mark.parametrize("other", BACKENDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_second_stage_is_what_both_programs_give(backend: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """−E_q[log p(x|z) − log q(z|x) + VLB(z)] from the run's log weights and a diffusion's own loss on its codes."""
    vae, x = finish(VAE, Path("vae"), monkeypatch, other), {"x": arrays()["x"]}
    host = compiled(STAGE_TWO, backend, **x)
    function = host.module.function("loss_model")
    assert function is not None
    values, noise = start(host) | frozen_of(host), noise_for(function, ROWS, seed=3)
    loss, _, _ = host.executable.loss("model", values, x, noise=noise)

    own = vae.program.compiled.executable
    eps = noise["z"]
    heads = own.call("encode", vae.parameters, x, noise={"z": np.zeros_like(eps)}, rows=ROWS, particles=1)["z"]
    codes = own.call("encode", vae.parameters, x, noise={"z": eps}, rows=ROWS, particles=1)["z"]
    assert not np.allclose(heads, codes)
    weight = own.call("log_weights", vae.parameters, x, noise={"z": eps}, rows=ROWS, particles=1)["value"]
    prior = stats.norm.logpdf(codes).sum(-1)

    alone = compiled(CODE, backend)
    denoiser = {name: value for name, value in values.items() if name.startswith("denoiser")}
    bound = alone.module.function("loss_model")
    assert bound is not None
    given = {entry.name: np.reshape(noise[entry.name], (ROWS, *entry.shape)) for entry in bound.noise}
    vlb, _, _ = alone.executable.loss("model", denoiser, {"z": codes.reshape(ROWS, CODES)}, noise=given)
    by_hand = vlb - np.mean(np.squeeze(weight) - np.squeeze(prior))
    np.testing.assert_allclose(loss, by_hand, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_frozen_weights_in_a_joint_model_give_the_same_number_and_no_gradient(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(VAE, Path("vae"), monkeypatch)
    x = {"x": arrays()["x"]}
    host, joint = compiled(STAGE_TWO, backend, **x), compiled(JOINT, backend, **x)
    function = joint.module.function("loss_model")
    assert function is not None
    values, noise = start(host) | frozen_of(host), noise_for(function, ROWS, seed=5)
    loss, gradient, _ = host.executable.loss("model", values, x, noise=noise, gradient=True)
    same, every, _ = joint.executable.loss("model", renamed(values), x, noise=noise, gradient=True)
    np.testing.assert_allclose(loss, same, rtol=1e-12)
    assert set(gradient) == {name for name in every if name.startswith("denoiser")}
    for name, value in gradient.items():
        np.testing.assert_allclose(value, every[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert host.module.players == (("model", ("denoiser",), 1),)
    assert not any(spec.trainable for spec in host.module.parameters if spec.name.startswith("x."))


@pytest.mark.parametrize("run", [FLOW, MIXTURE, MADE], ids=lambda run: str(run["name"]))
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_observed_run_has_its_own_density(run: Spec, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = BACKENDS[1 - BACKENDS.index(backend)]
    fit = finish(run, Path("run"), monkeypatch, other)
    data = {"y": arrays(1)["x" if run is MADE else "w"]}
    host = compiled({"dgmppl": 1, "data": {"y": run["data"]["w"]}, "model": {"y": 'Trained("run")'}}, backend, **data)
    values = frozen_of(host)
    assert set(values) == {spec.name for spec in host.module.parameters}
    assert len(values) == len(fit.parameters)
    found = host.executable.call("log_prob", values, data, rows=ROWS)["value"]
    wanted = fit.program.compiled.executable.call("log_prob", fit.parameters, {"w": data["y"]}, rows=ROWS)["value"]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize("run", [VAE, IMAGE], ids=lambda run: str(run["name"]))
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_observed_run_brings_its_latents_and_their_guide(
    run: Spec, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, x = finish(run, Path("run"), monkeypatch, backend), {"x": arrays()["x"]}
    host = compiled({"dgmppl": 1, "data": run["data"], "model": {"x": 'Trained("run")'}}, backend, **x)
    (latent,) = run["guide"]
    assert [site.name for site in host.program.guide] == [f"x.{latent}"]
    eps = np.random.default_rng(2).standard_normal((1, ROWS, CODES))
    found = weights_of(host, frozen_of(host), x, {f"x.{latent}": eps})["value"]
    wanted = weights_of(fit.program.compiled, dict(fit.parameters), x, {latent: eps})["value"]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize("run", [FLOW, MIXTURE], ids=lambda run: str(run["name"]))
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_exact_run_is_a_prior(run: Spec, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound with a finished run as the prior: E_q[log p(x|z) + log p_run(z) − log q(z|x)], term by term."""
    fit = finish(run, Path("run"), monkeypatch, backend)
    x = {"x": arrays()["x"]}
    own = compiled(VAE, backend, **x)
    host = compiled({**VAE, "model": {**VAE["model"], "z": 'Trained("run")'}}, backend, **x)
    values = start(own)
    frozen = frozen_of(host)
    assert {name.removeprefix("z.") for name in frozen} == set(fit.parameters)
    eps = np.random.default_rng(2).standard_normal((1, ROWS, CODES))
    codes = own.executable.call("encode", values, x, noise={"z": eps}, rows=ROWS, particles=1)["z"]
    codes = codes.reshape(ROWS, CODES)
    with_normal = weights_of(own, values, x, {"z": eps})["value"]
    with_run = weights_of(host, values | frozen, x, {"z": eps})["value"]
    log_run = fit.program.compiled.executable.call("log_prob", fit.parameters, {"w": codes}, rows=ROWS)["value"]
    np.testing.assert_allclose(with_run, with_normal - stats.norm.logpdf(codes).sum(-1) + log_run, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_holds_a_run(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder inside a prior inside a model: names nest, and the density is still that of the first run's parts."""
    vae = finish(VAE, Path("vae"), monkeypatch)
    second = finish(STAGE_TWO, Path("second"), monkeypatch, seed=4)
    spec: Spec = {
        "dgmppl": 1,
        "data": {"x": VAE["data"]["x"]},
        "networks": {"flow_net": f"mlp([4], out={CODES})"},
        "model": {
            "a": f"Normal(0, 1, shape={CODES})",
            "z": "Normal(flow_net(a), 1)",
            "x": 'Trained("second", given=z)',
        },
    }
    x = {"x": arrays()["x"]}
    host = compiled(spec, backend, **x)
    names = {parameter.name for parameter in host.module.parameters}
    assert "x.x.decoder.layers.0.weight" in names
    assert not any("denoiser" in name for name in names), "its prior has been replaced"
    values = start(host) | frozen_of(host)
    for name, value in frozen_of(host).items():
        np.testing.assert_array_equal(value, second.parameters[name.removeprefix("x.")])
    codes = {"a": np.zeros((ROWS, CODES)), "z": arrays()["w"]}
    found = host.executable.call("decode", values, codes, rows=ROWS)
    wanted = vae.program.compiled.executable.call("decode", vae.parameters, {"z": codes["z"]}, rows=ROWS)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12)
    assert [site.name for site in host.program.guide] == ["z", "a"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_library_s_program_learns_nothing_of_a_run(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen networks are no parameters of the emitted model, and its log density is the run's own."""
    vae = finish(VAE, Path("vae"), monkeypatch)
    model = {"z": f"Normal(0, 1, shape={CODES})", "x": 'Trained("vae", given=z)'}
    x, z = {"x": arrays()["x"]}, {"z": arrays()["w"]}
    host = compiled({**STAGE_TWO, "networks": {}, "model": model}, backend, **x)
    program = host.executable.library_model(frozen_of(host))
    own = vae.program.compiled.executable.library_model(vae.parameters)
    found = library_log_density(backend, program, x, z)
    np.testing.assert_allclose(found, library_log_density("numpyro", own, x, z), rtol=1e-9)
    assert 'parameters["x.decoder"]' in host.source
    assert 'eqx_module("x.decoder"' not in host.source
    if backend == "pyro":
        assert isinstance(program, nn.Module)
        assert list(program.parameters()) == []
