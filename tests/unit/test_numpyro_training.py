"""The NumPyro runtime on small hand-written programs: exchange of parameters, gradients, optimizers, resume."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dgmppl.backend import Device
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.kernel import Function, Group, Module, Noise
from dgmppl.ir.parameters import Initializer, ParameterSpec, initial_values
from dgmppl.ir.program import Program
from dgmppl.ir.settings import Train
from dgmppl.ir.types import POSITIVE

jax = pytest.importorskip("jax")

pytestmark = pytest.mark.usefixtures("quick_compilation")

executable = pytest.importorskip("dgmppl_numpyro.executable")

# A game of two: a linear map with weight w and bias b against a positive scale s; noise enters both losses.
SOURCE = textwrap.dedent(
    '''
    """A game."""

    import equinox as eqx
    import jax
    import jax.numpy as jnp


    class Linear(eqx.Module):
        weight: jax.Array
        bias: jax.Array
        offset: jax.Array

        def __init__(self, key=None):
            self.weight = jnp.zeros((1, 2))
            self.bias = jnp.zeros(1)
            self.offset = jnp.zeros(1)

        def __call__(self, x):
            return (x[..., None, :] * self.weight).sum(-1) + self.bias + self.offset


    NETWORKS = {"net": Linear}


    def noise(key, function, rows, particles):
        return {"e": jax.random.normal(key, (rows, 1))}


    def loss_model(own, other, state, batch, noise, step):
        residual = own["net"](batch["x"]) + 0.1 * noise["e"] - batch["y"]
        scale = jnp.exp(other["s"])
        loss = (residual**2 / scale).mean() / batch["bad"].mean()
        return loss, state, {"error": (residual**2).mean()}


    def loss_critic(own, other, state, batch, noise, step):
        residual = other["net"](batch["x"]) + 0.1 * noise["e"] - batch["y"]
        return ((residual**2).mean() - jnp.exp(own["s"])) ** 2, state, {"step": 1.0 * step}


    def log_prob(parameters, batch):
        scale = jnp.exp(parameters["s"])
        return -0.5 * ((parameters["net"](batch["x"]) - batch["y"]) / scale)[..., 0] ** 2


    def sample(parameters, batch, noise):
        return {"y": parameters["net"](batch["x"]) + noise["e"]}
    '''
).lstrip()


def module(every: int = 1) -> Module:
    net = (
        ParameterSpec("net.weight", "net", (1, 2), Initializer("uniform", 0.5)),
        ParameterSpec("net.bias", "net", (1,), Initializer("constant", 0.0)),
        ParameterSpec("net.offset", "net", (1,), Initializer("constant", 0.25), trainable=False),
    )
    scale = (ParameterSpec("s", "s", (), Initializer("constant", 1.5), POSITIVE),)
    noise = (Noise("e", "normal", (1,)),)
    return Module(
        program=Program("game", "", ()),
        heading=(),
        groups=(Group("net", "network", net), Group("s", "learned", scale, POSITIVE)),
        players=(("model", ("net",), 1), ("critic", ("s",), every)),
        functions=(
            Function("loss_model", "loss", (), "", noise=noise, owns=("net",)),
            Function("loss_critic", "loss", (), "", noise=noise, owns=("s",)),
            Function("log_prob", "density", (), ""),
            Function("sample", "sample", (), "", noise=noise),
        ),
    )


def game(every: int = 1) -> Any:
    return executable.Executable(SOURCE, module(every))


def data(rows: int = 64) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 2))
    return {"x": x, "y": x @ np.array([[1.0], [-2.0]]) + 0.3, "bad": np.ones((rows, 1))}


def start() -> dict[str, np.ndarray]:
    return initial_values(module().parameters, seed=1)


def trainer(settings: Train, every: int = 1, precision: str = "float32", columns: Any = None) -> Any:
    device = Device("cpu", precision)
    return game(every).trainer(start(), columns or data(), settings, steps=40, seed=3, device=device)


def rows(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 64, (steps, 16))


def optimizer(name: str, rate: float, **options: float) -> Call:
    return Call(name, (Literal(rate),), tuple((key, Literal(value)) for key, value in options.items()))


def test_functions_run_in_the_precision_of_the_parameters() -> None:
    values, columns = start(), data(5)
    wide = game().call("log_prob", values, columns)["value"]
    singles = {name: value.astype(np.float32) for name, value in values.items()}
    narrow = game().call("log_prob", singles, columns)["value"]
    assert (wide.dtype, narrow.dtype, wide.shape) == (np.float64, np.float32, (5,))
    mean = columns["x"] @ values["net.weight"].T + values["net.bias"] + values["net.offset"]
    expected = -0.5 * ((mean - columns["y"])[:, 0] / values["s"]) ** 2
    np.testing.assert_allclose(wide, expected, rtol=1e-12)


def test_given_noise_replaces_drawn_noise() -> None:
    columns, noise = {"x": np.zeros((3, 2))}, np.arange(3.0)[:, None]
    program = game()
    drawn = program.call("sample", start(), columns, noise={"e": noise})["y"]
    np.testing.assert_allclose(drawn, 0.25 + noise)
    one, same, other = (program.call("sample", start(), columns, seed=seed)["y"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_gradient_is_of_the_player_s_own_trainable_arrays_alone() -> None:
    values, columns, noise = start(), data(), {"e": np.zeros((64, 1))}
    loss, gradient, report = game().loss("model", values, columns, noise=noise, gradient=True)
    assert set(gradient) == {"net.weight", "net.bias"}
    residual = columns["x"] @ values["net.weight"].T + values["net.bias"] + values["net.offset"] - columns["y"]
    np.testing.assert_allclose(loss, (residual**2).mean() / values["s"], rtol=1e-12)
    np.testing.assert_allclose(gradient["net.bias"], 2 * residual.mean(0) / values["s"], rtol=1e-12)
    np.testing.assert_allclose(report["error"], (residual**2).mean(), rtol=1e-12)


def test_a_gradient_of_a_learned_parameter_is_unconstrained() -> None:
    values, columns, noise = start(), data(), {"e": np.zeros((64, 1))}
    _, gradient, report = game().loss("critic", values, columns, noise=noise, gradient=True)
    _, _, of_model = game().loss("model", values, columns, noise=noise)
    assert set(gradient) == {"s"}
    np.testing.assert_allclose(gradient["s"], -2 * (of_model["error"] - values["s"]) * values["s"], rtol=1e-10)
    assert report == {"step": 0.0}


def test_parameters_survive_the_way_in_and_out() -> None:
    found = trainer(Train(), precision="float64").parameters()
    assert set(found) == set(start())
    for name, value in start().items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12)


def reference(call: Call, gradients: list[np.ndarray], value: np.ndarray) -> np.ndarray:
    """The documented formulas, in float64."""
    rate = float(call.arguments[0].value)  # type: ignore[union-attr]
    options = {name: float(option.value) for name, option in call.keywords}  # type: ignore[union-attr]
    first, second = np.zeros_like(value), np.zeros_like(value)
    for step, gradient in enumerate(gradients, start=1):
        if call.function == "sgd":
            first = options.get("momentum", 0.0) * first + gradient + options.get("weight_decay", 0.0) * value
            value = value - rate * first
            continue
        if call.function == "rmsprop":
            decay = options.get("decay", 0.99)
            second = decay * second + (1 - decay) * gradient**2
            value = value - rate * gradient / (np.sqrt(second) + options.get("eps", 1e-8))
            continue
        beta1, beta2 = options.get("beta1", 0.9), options.get("beta2", 0.999)
        if call.function == "adamw":
            value = value * (1 - rate * options.get("weight_decay", 0.01))
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        corrected = first / (1 - beta1**step), second / (1 - beta2**step)
        value = value - rate * corrected[0] / (np.sqrt(corrected[1]) + options.get("eps", 1e-8))
    return value


@pytest.mark.parametrize(
    "call",
    [
        optimizer("adam", 0.01),
        optimizer("adam", 0.02, beta1=0.5, beta2=0.9, eps=1e-3),
        optimizer("adamw", 0.01, weight_decay=0.1),
        optimizer("sgd", 0.1),
        optimizer("sgd", 0.1, momentum=0.9, weight_decay=0.01),
        optimizer("rmsprop", 0.01, decay=0.9),
    ],
    ids=lambda call: call.function,
)
def test_optimizers_follow_their_formulas(call: Call) -> None:
    from dgmppl_numpyro.optimizers import optimizer as build

    generator = np.random.default_rng(0)
    gradients, value = [generator.normal(size=3) for _ in range(6)], generator.normal(size=3)
    with jax.enable_x64(True):
        transformation = build(call, None, 6)
        state, moved = transformation.init(value), value
        for gradient in gradients:
            change, state = transformation.update(gradient, state, moved)
            moved = moved + change
    np.testing.assert_allclose(moved, reference(call, gradients, value), rtol=1e-10)


def test_schedules_have_their_documented_values() -> None:
    from dgmppl_numpyro.optimizers import schedule_factor

    def at(call: Call, count: int) -> float:
        factor = schedule_factor(call, 20)
        assert factor is not None
        return float(factor(np.int32(count)))

    cosine = Call("cosine", (), (("warmup", Literal(10)), ("end", Literal(0.1))))
    assert [at(cosine, count) for count in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [at(cosine, count) for count in (10, 15, 20, 30)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert at(Call("linear"), 5) == pytest.approx(0.75)
    assert at(Call("exponential", (), (("decay", Literal(0.5)),)), 3) == pytest.approx(0.125)
    assert schedule_factor(Call("constant"), 20) is None
    with pytest.raises(RunError, match="did you mean cosine"):
        schedule_factor(Call("cosin"), 20)


def test_a_step_moves_each_player_with_its_own_optimizer() -> None:
    settings = Train(optimizer=optimizer("sgd", 0.0), optimizers={"s": optimizer("sgd", 0.01)})
    training = trainer(settings)
    training.advance(rows(5))
    moved = training.parameters()
    np.testing.assert_allclose(moved["net.weight"], start()["net.weight"], rtol=1e-6)
    assert abs(moved["s"] - 1.5) > 1e-4


def test_clipping_bounds_the_step() -> None:
    training = trainer(Train(optimizer=optimizer("sgd", 1.0), clip_norm=1e-3), precision="float64")
    training.advance(rows(1))
    moved, before = training.parameters(), start()
    change = np.sqrt(sum(((moved[name] - before[name]) ** 2).sum() for name in ("net.weight", "net.bias")))
    assert change == pytest.approx(1e-3, rel=1e-4)


def test_the_average_follows_the_parameters() -> None:
    training = trainer(Train(optimizer=optimizer("sgd", 0.1), ema=0.75), precision="float64")
    average = start()["net.weight"]
    for step in range(3):
        training.advance(rows(1, seed=step))
        average = 0.75 * average + 0.25 * training.parameters(averaged=False)["net.weight"]
    np.testing.assert_allclose(training.parameters()["net.weight"], average, rtol=1e-12)


@pytest.mark.parametrize("settings", [Train(), Train(schedule=Call("cosine"), ema=0.9, clip_norm=1.0)])
def test_resume_is_exact_whatever_the_blocks(settings: Train) -> None:
    lines = rows(10)
    whole = trainer(settings)
    reports = whole.advance(lines)
    first, second = trainer(settings), trainer(replace(settings))
    head = first.advance(lines[:4])
    second.restore(first.state())
    tail = second.advance(lines[4:])
    assert (whole.step, second.step) == (10, 10)
    for name, value in whole.state().items():
        assert np.array_equal(second.state()[name], value), name
    for name, entry in reports.items():
        assert np.array_equal(np.concatenate([head[name], tail[name]]), entry), name


def test_a_state_of_another_program_is_refused() -> None:
    state = trainer(Train()).state()
    with pytest.raises(RunError, match=r"lacks 'averages/"):
        trainer(Train(ema=0.9)).restore(state)
    state["parameters/s"] = np.zeros(3)
    with pytest.raises(RunError, match=r"'parameters/s' has shape \[3\]"):
        trainer(Train()).restore(state)


def test_a_player_rests_between_its_moves() -> None:
    training = trainer(Train(), every=3)
    report = training.advance(rows(7))
    moves = np.isfinite(report["critic.loss"])
    assert moves.tolist() == [False, False, True, False, False, True, False]
    assert np.isfinite(report["loss"]).all()
    assert report["finite"].all()


def test_training_stops_at_the_last_finite_state() -> None:
    columns = data()
    columns["bad"][7] = np.nan
    lines = rows(6)
    lines[lines == 7] = 8
    lines[4, 0] = 7
    training = trainer(Train(), columns=columns)
    report = training.advance(lines)
    assert report["finite"].tolist() == [True, True, True, True, False, False]
    assert training.step == 4
    undisturbed = trainer(Train(), columns=columns)
    undisturbed.advance(lines[:4])
    for name, value in undisturbed.parameters().items():
        assert np.array_equal(training.parameters()[name], value)


def test_precision_is_scoped() -> None:
    training = trainer(Train(), precision="float64")
    training.advance(rows(2))
    assert training.parameters()["net.weight"].dtype == np.float64
    assert not jax.config.jax_enable_x64


def test_tracebacks_show_emitted_lines() -> None:
    import traceback

    with pytest.raises(KeyError) as caught:
        game().call("log_prob", start(), {"y": np.zeros((2, 1))})
    frames = traceback.extract_tb(caught.value.__traceback__)
    emitted = [frame.line for frame in frames if frame.filename.startswith("<dgmppl:game:")]
    assert any(line and 'batch["x"]' in line for line in emitted)


def test_mistakes_are_named() -> None:
    with pytest.raises(RunError, match=r"there is no value for the parameter 'net\.weight'"):
        game().call("log_prob", {}, data())
    with pytest.raises(RunError, match="game has no elbo"):
        game().call("elbo", start(), data())
    with pytest.raises(RunError, match=r"shape \[2\]; the program's is \[1\]"):
        game().call("log_prob", {**start(), "net.bias": np.zeros(2)}, data())
    with pytest.raises(RunError, match="there is no device 'tpu'"):
        game().trainer(start(), data(), Train(), steps=1, seed=0, device=Device("tpu"))
    with pytest.raises(RunError, match="no optimizer 'adamm'; did you mean adam"):
        trainer(Train(optimizer=optimizer("adamm", 0.1)))
