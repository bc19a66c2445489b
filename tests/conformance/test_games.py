"""Games on both backends: duals against divergences by sum and quadrature, gradients, penalties, composites."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from dgmppl.api.program import compile as compile_program
from dgmppl.backend import Device
from dgmppl.compiler import Compilation, compile_spec
from dgmppl.errors import RunError, UnsupportedError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.kernel import Return, ReturnLoss, Var
from dgmppl.ir.settings import Train
from dgmppl.objectives.divergences import F_DIVERGENCES, alpha_divergence, f_divergence
from tests.support import BACKENDS, SPECS, both, noise_for, start

Spec = dict[str, Any]

GAMES = ("gan", "wgan_gp", "f_gan", "conditional_gan", "vae_gan", "aae", "avb", "bigan")
DIVERGENCES = (
    "js", "kl", "reverse_kl", "total_variation", "pearson", "hellinger", "alpha(0.3)", "alpha(2.5)", "wasserstein",
    "least_squares", "hinge",
)  # fmt: skip


def rows_of(compiled: Compilation, rows: int, seed: int = 0) -> dict[str, Any]:
    """Values of every column in its support."""
    generator = np.random.default_rng(seed)
    columns = compiled.program.columns.items()
    return {
        name: generator.integers(column.support.states, size=(rows, *column.shape))
        if column.support is not None and column.support.states
        else generator.normal(size=(rows, *column.shape))
        for name, column in columns
    }


def losses(spec: Any, player: str, values: Any = None, batch: Any = None, rows: int = 6) -> list[Any]:
    """(loss, gradient, report) of a player on each backend, at the same parameters, data and noise."""
    compiled = both(spec)
    values = start(compiled["pyro"]) if values is None else values
    batch = rows_of(compiled["pyro"], rows) if batch is None else batch
    found = []
    for one in compiled.values():
        function = one.module.function(f"loss_{player}")
        assert function is not None
        noise = noise_for(function, rows)
        found.append(one.executable.loss(player, values, batch, noise=noise, gradient=True))
    return found


def players(spec: Any) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    return compile_spec(spec).module.players


VAE: Spec = {
    "dgmppl": 1,
    "name": "vae",
    "data": {"x": {"shape": [3], "support": "real"}},
    "networks": {"encode": "mlp([4])", "decode": "mlp([4])", "judge": "mlp([4])"},
    "model": {"z": "Normal(0, 1, shape=2)", "x": "Normal(decode(z), 0.5)"},
    "guide": {"z": "Normal(**encode(x))"},
}


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


SMALL: Spec = {
    "dgmppl": 1,
    "name": "small",
    "data": {"x": {"shape": [2], "support": "real"}},
    "networks": {"make": "mlp([4], activation=tanh)", "judge": "mlp([4], activation=tanh)"},
    "model": {"z": "Normal(0, 1, shape=3)", "x": "make(z)"},
    "critics": {"x": "judge(x)"},
}


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_both_backends_agree_on_every_divergence(divergence: str) -> None:
    spec = {**SMALL, "objective": f"adversarial(x, divergence={divergence}, penalty=r1(0.5))"}
    for player, _, _ in players(spec):
        (first, gradient, _), (second, other, _) = losses(spec, player)
        assert first == pytest.approx(second, rel=1e-9, abs=1e-9)
        assert max(np.abs(slope).max() for slope in gradient.values()) > 1e-6
        for key, slope in gradient.items():
            np.testing.assert_allclose(slope, other[key], rtol=1e-9, atol=1e-11)


# ---- values ---------------------------------------------------------------------------------------------------------


@cache
def _dual(text: str, kind: str) -> Any:
    """The dual of a divergence, one number per row, on Pyro: (values, batch, noise) -> [B]."""
    spec = {**(GAUSSIANS if kind == "gaussians" else CATEGORICALS), "critics": {"x": _CRITICS[kind][text]}}
    penalty = ", penalty=r1(1)" if text == "wasserstein" else ""
    compiled = compile_spec({**spec, "objective": f"adversarial(x, divergence={text}{penalty})"}, backend="pyro")
    loss = compiled.module.function("loss_critic")
    assert loss is not None
    kept = tuple(one for one in loss.body if not isinstance(one, ReturnLoss))
    function = replace(loss, name="dual", kind="density", body=(*kept, Return((Var("divergence"),))), owns=())
    module = replace(compiled.module, functions=(function,), players=())
    executable = compiled.library.load(compiled.library.emit(module), module)

    def evaluate(values: Any, x: Any, noise: Any) -> Any:
        (entry,) = function.noise
        return executable.call("dual", values, {"x": x}, noise={entry.name: noise}, rows=len(x))["value"]

    return evaluate


# log p/q is r: a quadratic of x for Gaussians, a table for categories; below, the raw output that is optimal.
_RATIO = {"gaussians": "(a[0] + a[1] * x + a[2] * square(x))", "categoricals": "sum(a * x)"}
_OPTIMA = {
    "js": "{r}", "kl": "1 + {r}", "reverse_kl": "{r}", "total_variation": "1e9 * {r}", "pearson": "2 * (exp({r}) - 1)",
    "hellinger": "0.5 * {r}", "alpha(0.3)": "0.7 * {r}", "alpha(2.5)": "(exp(1.5 * {r}) - 1) / 1.5",
    "least_squares": "sigmoid({r})", "hinge": "tanh(1e9 * {r})",
}  # fmt: skip
_CRITICS = {kind: {name: text.format(r=ratio) for name, text in _OPTIMA.items()} for kind, ratio in _RATIO.items()}
_CRITICS["gaussians"]["wasserstein"] = "a[1] * x"

GAUSSIANS: Spec = {
    "dgmppl": 1,
    "name": "gaussians",
    "data": {"x": {"shape": [], "support": "real"}},
    "parameters": {"a": "learned(normal(3))", "m": "learned(0.0)", "s": "learned(positive)"},
    "model": {"x": "Normal(m, s)"},
}
CATEGORICALS: Spec = {
    "dgmppl": 1,
    "name": "categories",
    "data": {"x": {"shape": [3], "support": "unit"}},
    "parameters": {"a": "learned(normal(3))", "q": "learned(simplex(3))"},
    "model": {"k": "Categorical(probs=q)", "x": "one_hot(k, 3)"},
}


def truth(name: str, p: Any, q: Any, weights: Any = 1.0) -> float:
    """The divergence of two densities on a grid, or of two probability vectors."""
    match name:
        case "least_squares":
            return float(np.sum(weights * (p - q) ** 2 / (p + q)) / 2.0)
        case "hinge":
            return float(np.sum(weights * np.abs(p - q)))
        case _ if name.startswith("alpha"):
            return f_divergence(alpha_divergence(float(name[6:-1])), weights * p, weights * q)
        case _:
            return f_divergence(F_DIVERGENCES[name], weights * p, weights * q)


@pytest.mark.parametrize("scale", [1.0, 1.3])
@pytest.mark.parametrize("divergence", [one for one in DIVERGENCES if one != "wasserstein"])
def test_the_optimal_critic_gives_the_divergence_of_two_gaussians(divergence: str, scale: float) -> None:
    if scale != 1.0 and divergence in {"total_variation", "hinge"}:
        pytest.skip("a kink off the grid's cell boundaries: the quadrature is not accurate to 1e-6 there")
    p, q = stats.norm(0.5, 1.0), stats.norm(-0.5, scale)
    # log p - log q = r(x); the quadrature's cells are such that x = 0, the kink at equal scales, is a boundary.
    ratio = np.array([np.log(scale) - 0.125 + 0.125 / scale**2, 0.5 + 0.5 / scale**2, 0.5 / scale**2 - 0.5])
    step = 1.0 / 500
    nodes = np.arange(-14.0, 14.0, step) + step / 2
    values = {"a": ratio, "m": np.array(-0.5), "s": np.array(scale)}
    found = _dual(divergence, "gaussians")(values, 0.5 + nodes, nodes) @ (stats.norm.pdf(nodes) * step)
    expected = truth(divergence, p.pdf(nodes), q.pdf(nodes), step)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_kantorovich_dual_of_two_shifted_gaussians_is_their_distance() -> None:
    values = {"a": np.array([0.0, 1.0, 0.0]), "m": np.array(-0.7), "s": np.array(1.0)}
    nodes, weights = np.polynomial.hermite_e.hermegauss(21)
    found = _dual("wasserstein", "gaussians")(values, 0.5 + nodes, nodes) @ weights / weights.sum()
    assert found == pytest.approx(1.2, abs=1e-12)


@pytest.mark.parametrize("divergence", [one for one in DIVERGENCES if one != "wasserstein"])
def test_the_optimal_critic_gives_the_divergence_of_two_categories(divergence: str) -> None:
    p, q = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.1, 0.3 + 1e-12])
    q = q / q.sum()
    data, classes = (grid.ravel() for grid in np.meshgrid(range(3), range(3), indexing="ij"))
    gumbel = 1e3 * np.eye(3)[classes]
    found = _dual(divergence, "categoricals")({"a": np.log(p / q), "q": q}, np.eye(3)[data], gumbel)
    assert found @ (p[data] * q[classes]) == pytest.approx(truth(divergence, p, q), abs=1e-6)


def test_the_gan_value_is_twice_the_divergence_minus_log_four() -> None:
    """E_p[log D] + E_q[log(1 - D)] with D = sigmoid(v), v the critic's raw output (Goodfellow et al. 2014, eq. 1)."""
    spec = {**SMALL, "objective": "adversarial(x)"}
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 5)
    (loss, _, report), _ = losses(spec, "critic", values, batch, 5)
    function = compiled.module.function("loss_critic")
    assert function is not None
    (noise,) = noise_for(function, 5).values()

    def mlp(name: str, x: Any) -> Any:
        h = np.tanh(x @ values[f"{name}.layers.0.weight"].T + values[f"{name}.layers.0.bias"])
        return h @ values[f"{name}.layers.1.weight"].T + values[f"{name}.layers.1.bias"]

    real, fake = mlp("judge", batch["x"]), mlp("judge", mlp("make", noise))
    gan = np.log(expit(real)).mean() + np.log(expit(-fake)).mean()
    assert 2.0 * report["divergence"] - np.log(4.0) == pytest.approx(gan, rel=1e-12)
    assert loss == pytest.approx(-report["divergence"], rel=1e-12)


# ---- the model's player ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("saturating", "sign"), [(True, -1.0), (False, 1.0)])
def test_both_generator_updates_of_js(saturating: bool, sign: float) -> None:
    """Saturating: log(1 - D) / 2 descends; otherwise -log D / 2 (Goodfellow et al. 2014, section 3)."""
    spec = {**SMALL, "objective": f"adversarial(x, saturating={str(saturating).lower()})"}
    compiled = compile_spec(spec, backend="pyro")
    values = start(compiled)
    sampled = compiled.module.function("loss_model")
    assert sampled is not None
    noise = noise_for(sampled, 6)
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
        function = game[backend].module.function("loss_model")
        assert function is not None
        noise = noise_for(function, 6)
        loss, gradient, _ = game[backend].executable.loss("model", values, batch, noise=noise, gradient=True)
        alone = {spec.name: values[spec.name] for spec in plain[backend].module.parameters}
        expected, slopes, _ = plain[backend].executable.loss(
            "model", alone, batch, noise={"z": noise["z"]}, gradient=True
        )
        assert loss == pytest.approx(expected, abs=1e-9)
        for key, slope in slopes.items():
            np.testing.assert_allclose(gradient[key], slope, atol=1e-9)


# ---- sides ----------------------------------------------------------------------------------------------------------


def _linear(values: Any, name: str, *inputs: Any) -> Any:
    """A network without hidden layers, on inputs that are joined."""
    joined = np.concatenate([np.reshape(part, (len(part), -1)) for part in inputs], -1)
    return joined @ values[f"{name}.layers.0.weight"].T + values[f"{name}.layers.0.bias"]


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
        function = compiled.module.function(f"loss_{player}")
        assert function is not None
        (noise,) = noise_for(function, 6).values()
        real = _linear(values, "judge", batch["x"], label)
        fake = _linear(values, "judge", _linear(values, "make", noise, label), label)
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
    critic, model = (compiled.module.function(f"loss_{name}") for name in ("critic", "model"))
    assert critic is not None
    assert model is not None
    noise = noise_for(model, 6)
    z = _linear(values, "encode", batch["x"], noise["e"])
    likelihood = stats.norm(_linear(values, "decode", z), 0.5).logpdf(batch["x"]).sum(-1)
    expected = (_linear(values, "judge", batch["x"], z)[:, 0] - likelihood).mean()
    for loss, _, _ in losses(spec, "model", values, batch):
        assert loss == pytest.approx(expected, rel=1e-12)
    noise = noise_for(critic, 6)
    z = _linear(values, "encode", batch["x"], noise["e@guide"])
    inside, outside = (_linear(values, "judge", batch["x"], point) for point in (z, noise["z@prior"]))
    expected = -(0.5 * np.log(2.0 * expit(inside)).mean() + 0.5 * np.log(2.0 * expit(-outside)).mean())
    for loss, _, _ in losses(spec, "critic", values, batch):
        assert loss == pytest.approx(expected, rel=1e-12)


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
    values, function = start(compiled), compiled.module.function("loss_model")
    assert function is not None
    noise = noise_for(function, 6)
    mean = expit(_linear(values, "make", noise["z@model"]))
    fake = mean if way == "mean" else (noise["x@model"] < mean).astype(float)
    raw, slope = _linear(values, "judge", fake)[:, 0], values["judge.layers.0.weight"][0]
    expected = -(raw**2 / 4.0 + raw).mean()
    bias = -((raw / 2.0 + 1.0)[:, None] * slope * mean * (1.0 - mean)).mean(0)
    for loss, gradient, _ in losses(spec, "model", values):
        assert loss == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient["make.layers.0.bias"], bias, rtol=1e-10)


# ---- penalties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["gradient(3)", "gradient", "r1(3)", "r2(3)"])
def test_penalties_are_of_the_critic_s_gradient(penalty: str) -> None:
    """v = sum a x^2, whose gradient is 2 a x."""
    spec = {
        **SMALL,
        "parameters": {"a": "learned(normal(2))"},
        "networks": {"make": "mlp([])"},
        "critics": {"x": "sum(a * square(x))"},
        "objective": f"adversarial(x, divergence=wasserstein, penalty={penalty})",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    function = compiled.module.function("loss_critic")
    assert function is not None
    noise = noise_for(function, 6)
    fake = _linear(values, "make", noise["z@model"])
    dual = ((batch["x"] ** 2 - fake**2) @ values["a"]).mean()
    if penalty.startswith("gradient"):
        between = batch["x"] + noise["x@between"][:, None] * (fake - batch["x"])
        norm = np.linalg.norm(2.0 * values["a"] * between, axis=-1)
        expected = (3.0 if "3" in penalty else 10.0) * ((norm - 1.0) ** 2).mean()
    else:
        points = batch["x"] if penalty.startswith("r1") else fake
        expected = 1.5 * ((2.0 * values["a"] * points) ** 2).sum(-1).mean()
    for loss, _, report in losses(spec, "critic", values, batch):
        assert loss == pytest.approx(expected - dual, rel=1e-9)
        if penalty.startswith("gradient"):
            assert report["gradient_norm"] == pytest.approx(norm.mean(), rel=1e-9)


def test_the_gradient_of_a_joint_critic_is_by_everything_that_is_swapped() -> None:
    spec = {
        **SMALL,
        "networks": {"make": "mlp([])", "encode": "mlp([])"},
        "parameters": {"a": "learned(normal(2))", "b": "learned(normal(3))"},
        "guide": {"z": "encode(x)"},
        "critics": {"(x, z)": "sum(a * square(x)) * sum(b * z)"},
        "objective": "adversarial(x, divergence=js, penalty=r1(2))",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    plain = {**spec, "objective": "adversarial(x, divergence=js)"}
    (without, _, _), _ = losses(plain, "critic", values, batch)
    x, z = batch["x"], _linear(values, "encode", batch["x"])
    by_x = 2.0 * values["a"] * x * (z @ values["b"])[:, None]
    by_z = values["b"] * (x**2 @ values["a"])[:, None]
    expected = (by_x**2).sum(-1).mean() + (by_z**2).sum(-1).mean()
    for loss, _, _ in losses(spec, "critic", values, batch):
        assert loss - without == pytest.approx(expected, rel=1e-9)


# ---- spectral normalization -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_power_iteration_finds_the_largest_singular_values(backend: str) -> None:
    spec = {**SMALL, "objective": "adversarial(x, divergence=hinge, penalty=spectral)"}
    compiled = compile_spec(spec, backend=backend)
    values, generator = start(compiled), np.random.default_rng(0)
    first, last = (values[f"judge.layers.{number}.weight"] for number in (0, 1))
    directions = {"layers.0.weight": generator.normal(size=4), "layers.1.weight": generator.normal(size=1)}
    x = generator.normal(size=(5, 2))
    hidden = np.tanh(x @ first.T / np.linalg.norm(first, 2) + values["judge.layers.0.bias"])
    expected = hidden @ last[0] / np.linalg.norm(last, 2) + values["judge.layers.1.bias"]
    normalized = {"pyro": _normalized_on_torch, "numpyro": _normalized_on_jax}[backend]
    np.testing.assert_allclose(normalized(compiled, values, directions, x), expected, rtol=1e-10)


def _normalized_on_torch(compiled: Compilation, values: Any, directions: Any, x: Any) -> Any:
    import torch

    from dgmppl_pyro.critics import spectral

    judge = compiled.executable.namespace.NETWORKS["judge"]().double()
    judge.load_state_dict({name: torch.as_tensor(values[f"judge.{name}"]) for name in judge.state_dict()})
    vectors = {name: torch.as_tensor(vector) for name, vector in directions.items()}
    for _ in range(200):
        network, vectors = spectral(judge, vectors)
    return network(torch.as_tensor(x)).detach().numpy()


def _normalized_on_jax(compiled: Compilation, values: Any, directions: Any, x: Any) -> Any:
    import equinox as eqx
    import jax

    from dgmppl_numpyro.critics import spectral

    names = [f"judge.layers.{number}.{kind}" for number in (0, 1) for kind in ("weight", "bias")]
    with jax.enable_x64(True):
        judge = eqx.tree_at(
            lambda tree: [getattr(layer, kind) for layer in tree.layers for kind in ("weight", "bias")],
            compiled.executable.namespace.NETWORKS["judge"](),
            [jax.numpy.asarray(values[name]) for name in names],
        )
        vectors = {name: jax.numpy.asarray(vector) for name, vector in directions.items()}
        for _ in range(200):
            network, vectors = spectral(judge, vectors)
        return np.asarray(network(jax.numpy.asarray(x)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_critic_carries_its_weights_directions_on(backend: str) -> None:
    compiled = compile_spec(
        {**SMALL, "objective": "adversarial(x, divergence=hinge, penalty=spectral)"}, backend=backend
    )
    assert [player for player, _, _ in compiled.module.players] == ["critic", "model"]
    batch = rows_of(compiled, 32)
    rows = np.random.default_rng(0).integers(0, 32, (6, 8))
    whole = _trainer(compiled, batch)
    begun = {name: value for name, value in whole.state().items() if name.endswith("direction")}
    assert len(begun) == 2
    whole.advance(rows[:3])
    state = whole.state()
    moved = {name: state[name] for name in begun}
    assert any(not np.allclose(moved[name], value) for name, value in begun.items())
    assert all(np.linalg.norm(value) == pytest.approx(1.0) for value in moved.values())
    whole.advance(rows[3:])
    resumed = _trainer(compiled, batch)
    resumed.restore(state)
    resumed.advance(rows[3:])
    assert all(np.array_equal(value, resumed.state()[name]) for name, value in whole.state().items())


# ---- training -------------------------------------------------------------------------------------------------------


def _trainer(compiled: Compilation, batch: Any) -> Any:
    settings = Train(
        optimizer=Call("adam", (Literal(1e-2),)), optimizers={"judge": Call("sgd", (Literal(1e-2),))}, batch_size=8
    )
    device = Device("cpu", "float64")
    return compiled.executable.trainer(start(compiled), batch, settings, steps=12, seed=3, device=device)


@pytest.mark.parametrize("backend", BACKENDS)
def test_players_move_in_turn_and_go_on_bit_for_bit(backend: str) -> None:
    compiled = compile_spec(
        {**SMALL, "objective": "adversarial(x, divergence=wasserstein, critic_steps=3)"}, backend=backend
    )
    batch = rows_of(compiled, 32)
    rows = np.random.default_rng(0).integers(0, 32, (6, 8))
    whole, before = _trainer(compiled, batch), start(compiled)
    report = whole.advance(rows[:2])
    first = whole.parameters()
    still = {name for name, value in before.items() if np.array_equal(first[name], value)}
    # A Wasserstein critic's last bias cancels.
    assert still == {name for name in before if name.startswith("make")} | {"judge.layers.1.bias"}
    assert np.isnan(report.get("model.loss", np.nan)).all()
    state = whole.state()
    report = whole.advance(rows[2:])
    assert np.isfinite(report["model.loss"]).tolist() == [True, False, False, True]
    assert {"divergence", "gradient_norm"} <= report.keys()
    resumed = _trainer(compiled, batch)
    resumed.restore(state)
    resumed.advance(rows[2:])
    expected, found = whole.state(), resumed.state()
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert not np.array_equal(whole.parameters()["make.layers.0.weight"], before["make.layers.0.weight"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fit_counts_the_model_s_updates_and_samples(backend: str) -> None:
    fit = compile_program(SPECS / "wgan_gp.yaml", backend=backend, overrides=["train.batch_size=16"]).fit(steps=2)
    assert fit.records[-1]["step"] == 10
    assert fit.sample(7, seed=0).shape == (7, 2)
    with pytest.raises(RunError, match="samples but no density"):
        fit.log_prob()


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_score_function_fakes_are_refused_with_their_line() -> None:
    spec = {
        **SMALL,
        "data": {"x": {"shape": [2], "support": "binary"}},
        "model": {"z": "Normal(0, 1, shape=3)", "x": "Bernoulli(logits=make(z))"},
        "objective": "adversarial(x, fake=score_function)",
    }
    with pytest.raises(UnsupportedError, match="score_function gradients through samples of 'x'"):
        _ = compile_spec(spec).module
