"""Games on both backends: whose gradient touches what, both sides of a critic, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from dgmppl.compiler import compile_spec
from dgmppl.errors import UnsupportedError
from tests.games import DIVERGENCES, SMALL, VAE, linear, losses, noise_of, rows_of
from tests.support import BACKENDS, SPECS, both, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

GAMES = ("gan", "wgan_gp", "f_gan", "conditional_gan", "vae_gan", "aae", "avb", "bigan")


def players(spec: Any) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    return compile_spec(spec).module.players


# ---- both backends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAMES)
def test_both_backends_agree_on_every_player_of_every_game(name: str) -> None:
    spec = SPECS / f"{name}.yaml"
    for player, owns, _ in players(spec):
        (first, gradient, report), (second, other, further) = losses(spec, player)
        assert first == pytest.approx(second, rel=1e-9, abs=1e-9)
        assert report.keys() == further.keys()
        assert {key.split(".")[0] for key in gradient} == set(owns)
        for key, slope in gradient.items():
            np.testing.assert_allclose(slope, other[key], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_both_backends_agree_on_every_divergence(divergence: str) -> None:
    spec = {**SMALL, "objective": f"adversarial(x, divergence={divergence}, penalty=r1(0.5))"}
    for player, _, _ in players(spec):
        (first, gradient, _), (second, other, _) = losses(spec, player)
        assert first == pytest.approx(second, rel=1e-9, abs=1e-9)
        assert max(np.abs(slope).max() for slope in gradient.values()) > 1e-6
        for key, slope in gradient.items():
            np.testing.assert_allclose(slope, other[key], rtol=1e-9, atol=1e-11)


# ---- the model's player ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("saturating", "sign"), [(True, -1.0), (False, 1.0)])
def test_both_generator_updates_of_js(saturating: bool, sign: float) -> None:
    """Saturating: log(1 - D) / 2 descends; otherwise -log D / 2 (Goodfellow et al. 2014, section 3)."""
    spec = {**SMALL, "objective": f"adversarial(x, saturating={str(saturating).lower()})"}
    compiled = compile_spec(spec, backend="pyro")
    values = start(compiled)
    noise = noise_of(compiled, "model")
    fake = compiled.executable.call("sample", values, {}, noise={"z": noise["z@model"]}, rows=6)["x"]
    raw = np.tanh(fake @ values["judge.layers.0.weight"].T + values["judge.layers.0.bias"])
    raw = raw @ values["judge.layers.1.weight"].T + values["judge.layers.1.bias"]
    expected = -sign * 0.5 * np.log(2.0 * expit(sign * raw)).mean()
    (loss, _, _), _ = losses(spec, "model", values)
    assert loss == pytest.approx(expected, rel=1e-12)


def test_a_joint_critic_teaches_generator_and_encoder() -> None:
    (_, gradient, _), _ = losses(SPECS / "bigan.yaml", "model")
    for group in ("generator", "encoder"):
        assert max(np.abs(slope).max() for key, slope in gradient.items() if key.startswith(group)) > 1e-6


def test_no_adversarial_weight_leaves_the_autoencoder() -> None:
    """A schedule that begins at zero, since a term of weight zero is refused; losses are taken at step zero."""
    text = "elbo() + adversarial(x, divergence=js, weight=linear(0, 1, steps=100))"
    networks = {"encode": "mlp([4])", "decode": "mlp([4])"}
    game = both({**VAE, "critics": {"x": "judge(x)"}, "objective": text})
    plain = both({**VAE, "networks": networks})
    values, batch = start(game["pyro"]), rows_of(game["pyro"], 6)
    for backend in BACKENDS:
        noise = noise_of(game[backend], "model")
        loss, gradient, _ = game[backend].executable.loss("model", values, batch, noise=noise, gradient=True)
        alone = {spec.name: values[spec.name] for spec in plain[backend].module.parameters}
        expected, slopes, _ = plain[backend].executable.loss(
            "model", alone, batch, noise={"z": noise["z"]}, gradient=True
        )
        assert loss == pytest.approx(expected, abs=1e-9)
        for key, slope in slopes.items():
            np.testing.assert_allclose(gradient[key], slope, atol=1e-9)


# ---- sides ----------------------------------------------------------------------------------------------------------


def test_context_is_shared_by_both_sides() -> None:
    spec = {
        **SMALL,
        "data": {**SMALL["data"], "y": {"shape": [], "support": "integer(3)"}},
        "networks": {"make": "mlp([])", "judge": "mlp([])"},
        "model": {"z": "Normal(0, 1, shape=3)", "x": "make(z, one_hot(y, 3))"},
        "critics": {"x": "judge(x, one_hot(y, 3))"},
        "objective": "adversarial(x, divergence=pearson)",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    label = np.eye(3)[batch["y"]]
    for player in ("critic", "model"):
        (noise,) = noise_of(compiled, player).values()
        real = linear(values, "judge", batch["x"], label)
        fake = linear(values, "judge", linear(values, "make", noise, label), label)
        descended = fake**2 / 4.0 + fake
        expected = -(real.mean() - descended.mean()) if player == "critic" else -descended.mean()
        for loss, _, _ in losses(spec, player, values, batch):
            assert loss == pytest.approx(expected, rel=1e-12)
        other = {**batch, "y": (batch["y"] + 1) % 3}
        assert losses(spec, player, values, other)[0][0] != pytest.approx(expected, rel=1e-6)


def test_a_density_ratio_is_the_critic_s_raw_output_at_the_guide_s_draws() -> None:
    spec = {
        **VAE,
        "networks": {"encode": "mlp([])", "decode": "mlp([])", "judge": "mlp([])"},
        "guide": {"e": "Normal(0, 1, shape=2)", "z": "encode(x, e)"},
        "critics": {"z": "judge(x, z)"},
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    noise = noise_of(compiled, "model")
    z = linear(values, "encode", batch["x"], noise["e"])
    likelihood = stats.norm(linear(values, "decode", z), 0.5).logpdf(batch["x"]).sum(-1)
    expected = (linear(values, "judge", batch["x"], z)[:, 0] - likelihood).mean()
    for loss, _, _ in losses(spec, "model", values, batch):
        assert loss == pytest.approx(expected, rel=1e-12)
    noise = noise_of(compiled, "critic")
    z = linear(values, "encode", batch["x"], noise["e@guide"])
    inside, outside = (linear(values, "judge", batch["x"], point) for point in (z, noise["z@prior"]))
    expected = -(0.5 * np.log(2.0 * expit(inside)).mean() + 0.5 * np.log(2.0 * expit(-outside)).mean())
    for loss, _, _ in losses(spec, "critic", values, batch):
        assert loss == pytest.approx(expected, rel=1e-12)


def test_the_optimal_ratio_makes_an_implicit_guide_s_loss_the_bound() -> None:
    """With T = log q(z | x) - log p(z) the loss at drawn noise is -[log p(x | z) + log p(z) - log q(z | x)]."""
    spec = {
        **VAE,
        "networks": {"encode": "mlp([])", "decode": "mlp([])"},
        "guide": {"e": "Normal(0, 1, shape=2)", "z": "encode(x, e)"},
        "critics": {"z": "sum(0.5 * square(z) - 0.5 * square((z - [[1, 0, 2], [0.5, -1, 0]] @ x) / 0.6) - log(0.6))"},
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    slope = np.array([[1.0, 0.0, 2.0], [0.5, -1.0, 0.0]])
    values["encode.layers.0.weight"] = np.concatenate([slope, 0.6 * np.eye(2)], -1)
    values["encode.layers.0.bias"] = np.zeros(2)
    e = noise_of(compiled, "model")["e"]
    z = batch["x"] @ slope.T + 0.6 * e
    bound = stats.norm(linear(values, "decode", z), 0.5).logpdf(batch["x"]).sum(-1)
    bound += (stats.norm.logpdf(z) - stats.norm(batch["x"] @ slope.T, 0.6).logpdf(z)).sum(-1)
    for loss, _, _ in losses(spec, "model", values, batch):
        assert loss == pytest.approx(-bound.mean(), rel=1e-9)


def test_samples_of_a_game_beside_a_bound_have_noise_of_their_own() -> None:
    function = compile_spec({**VAE, "critics": {"x": "judge(x)"}, "objective": "elbo() + adversarial(x)"}).module
    loss = function.function("loss_model")
    assert loss is not None
    assert {entry.name for entry in loss.noise} == {"z", "z@model", "x@model"}


@pytest.mark.parametrize("way", ["mean", "straight_through"])
def test_what_stands_in_for_samples_without_a_gradient(way: str) -> None:
    spec = {
        **SMALL,
        "data": {"x": {"shape": [2], "support": "binary"}},
        "networks": {"make": "mlp([])", "judge": "mlp([])"},
        "model": {"z": "Normal(0, 1, shape=3)", "x": "Bernoulli(logits=make(z))"},
        "objective": f"adversarial(x, divergence=pearson, fake={way})",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, noise = start(compiled), noise_of(compiled, "model")
    mean = expit(linear(values, "make", noise["z@model"]))
    fake = mean if way == "mean" else (noise["x@model"] < mean).astype(float)
    raw, slope = linear(values, "judge", fake)[:, 0], values["judge.layers.0.weight"][0]
    expected = -(raw**2 / 4.0 + raw).mean()
    bias = -((raw / 2.0 + 1.0)[:, None] * slope * mean * (1.0 - mean)).mean(0)
    for loss, gradient, _ in losses(spec, "model", values):
        assert loss == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient["make.layers.0.bias"], bias, rtol=1e-10)


def test_reconstructions_stand_for_samples_where_they_are_asked_for() -> None:
    spec = {
        **VAE,
        "networks": {"encode": "mlp([])", "decode": "mlp([])", "judge": "mlp([])"},
        "guide": {"z": "Normal(encode(x), 0.3)"},
        "critics": {"x": "judge(x)"},
        "objective": "elbo() + adversarial(x, divergence=pearson, source=reconstruction, fake=mean)",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    noise = noise_of(compiled, "critic")
    assert set(noise) == {"z@model"}
    z = linear(values, "encode", batch["x"]) + 0.3 * noise["z@model"]
    real, fake = (linear(values, "judge", x) for x in (batch["x"], linear(values, "decode", z)))
    for loss, _, _ in losses(spec, "critic", values, batch):
        assert loss == pytest.approx(-(real - fake**2 / 4.0 - fake).mean(), rel=1e-12)


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_a_critic_s_context_has_to_be_data() -> None:
    spec = {**SMALL, "networks": {"make": "mlp([])", "judge": "mlp([])"}, "critics": {"x": "judge(x, z)"}}
    with pytest.raises(UnsupportedError, match=r"latent context 'z'(?s:.*)\(x, z\)"):
        _ = compile_spec(spec).module


def test_a_critic_on_data_with_holes_is_refused() -> None:
    spec = {
        **SMALL,
        "data": {"x": {"values": [[0.1, None], [0.3, 0.4]]}},
        "networks": {"judge": "mlp([])"},
        "parameters": {"m": "learned(normal(2))"},
        "model": {"x": "Normal(m, 0.5)"},
        "objective": "mle() + adversarial(x)",
    }
    with pytest.raises(UnsupportedError, match="missing entries"):
        _ = compile_spec(spec).module


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_library_s_model_of_a_game_is_a_sampler(backend: str) -> None:
    compiled = compile_spec({**SMALL, "objective": "adversarial(x)"}, backend=backend)
    values = start(compiled)
    program = compiled.executable.library_model(values)
    if backend == "pyro":
        import pyro

        trace = pyro.poutine.trace(program).get_trace(rows=5, size=5)
        z, x = (trace.nodes[name]["value"].detach().numpy() for name in ("z", "x"))
    else:
        from numpyro import handlers

        sites = handlers.trace(handlers.seed(program, 0)).get_trace(rows=5, size=5)
        z, x = (np.asarray(sites[name]["value"]) for name in ("z", "x"))
    hidden = np.tanh(z @ values["make.layers.0.weight"].T + values["make.layers.0.bias"])
    expected = hidden @ values["make.layers.1.weight"].T + values["make.layers.1.bias"]
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
