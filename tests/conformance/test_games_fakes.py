"""Samples without a gradient of their own: the score-function gradient against enumeration, and what is refused."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

from dgmppl.compiler import compile_spec
from dgmppl.errors import SpecError
from tests.games import SMALL, losses, noise_of, rows_of
from tests.support import start

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROWS, REPEATS = 16, 400

BITS = {
    **SMALL,
    "data": {"x": {"shape": [2], "support": "binary"}},
    "parameters": {"w": "learned(normal(2))", "a": "learned(normal(2))"},
    "networks": {},
    "model": {"x": "Bernoulli(logits=w)"},
    "critics": {"x": "sum(a * x) + 0.7 * x[0] * x[1]"},
    "objective": "adversarial(x, divergence=pearson, fake=score_function)",
}
# A discrete latent with learned weights under a function of it.
CLASSES = {
    **SMALL,
    "parameters": {"b": "learned(normal(3))", "m": "learned(normal(3, 2))", "a": "learned(normal(2))"},
    "networks": {},
    "model": {"k": "Categorical(logits=b)", "e": "Normal(0, 1, shape=2)", "x": "m[k] + 0.5 * e"},
    "critics": {"x": "sum(a * square(x))"},
    "objective": "adversarial(x, divergence=kl, fake=score_function)",
}


def gradients(spec: Any, values: Any) -> dict[str, Any]:
    """The model's gradient by each name under fresh noise: [REPEATS, *shape]."""
    compiled = compile_spec(spec, backend="pyro")
    batch = rows_of(compiled, ROWS)
    found = [compiled.executable.loss("model", values, batch, seed=seed, gradient=True)[1] for seed in range(REPEATS)]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def assert_unbiased(found: Any, expected: Any) -> None:
    """Each entry within four standard errors of what it is an estimate of."""
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) < 4.0 * error + 1e-12).all()


def test_the_score_function_gradient_of_bits_is_the_enumerated_one() -> None:
    values = start(compile_spec(BITS, backend="pyro"))
    p, exact = expit(values["w"]), np.zeros(2)
    for x in map(np.array, product([0.0, 1.0], repeat=2)):
        raw = values["a"] @ x + 0.7 * x[0] * x[1]
        exact += np.prod(np.where(x == 1.0, p, 1.0 - p)) * -(0.25 * raw**2 + raw) * (x - p)
    found = gradients(BITS, values)["w"]
    assert_unbiased(found, exact)
    # Were the gradient zero, or of the other sign, it would be seen.
    assert np.abs(exact).max() > 10.0 * found.std(0).max() / np.sqrt(REPEATS)


def test_a_discrete_latent_under_a_function_is_taught_by_its_score() -> None:
    """E_e exp(a (m + s e)^2) = exp(a m^2 / c) / sqrt(c) with c = 1 - 2 a s^2, for each element of the sum v."""
    values = start(compile_spec(CLASSES, backend="pyro"))
    values["a"] = np.array([0.3, -0.4])
    p, m, c = softmax(values["b"]), values["m"], 1.0 - 2.0 * values["a"] * 0.25
    given = -np.exp((values["a"] * m**2 / c).sum(-1) - 1.0) / np.sqrt(c).prod()
    found = gradients(CLASSES, values)
    assert_unbiased(found["m"], (p * given)[:, None] * 2.0 * values["a"] * m / c)
    assert_unbiased(found["b"], p * (given - p @ given))
    assert np.abs(p * (given - p @ given)).max() > 10.0 * found["b"].std(0).max() / np.sqrt(REPEATS)


@pytest.mark.parametrize("spec", [BITS, CLASSES], ids=["bits", "classes"])
def test_both_backends_agree_on_score_function_fakes(spec: Any) -> None:
    compiled = compile_spec(spec, backend="pyro")
    noise = noise_of(compiled, "model")
    assert noise
    for player in ("critic", "model"):
        (first, gradient, _), (second, other, _) = losses(spec, player)
        assert first == pytest.approx(second, rel=1e-10)
        for name, slope in gradient.items():
            np.testing.assert_allclose(slope, other[name], rtol=1e-8, atol=1e-11)


# ---- what is refused ------------------------------------------------------------------------------------------------


def refusal(spec: Any) -> str:
    with pytest.raises(SpecError) as caught:
        compile_spec(spec)
    return str(caught.value)


@pytest.mark.parametrize("way", ["", ", fake=mean", ", fake=straight_through"])
def test_a_discrete_latent_without_a_gradient_is_refused(way: str) -> None:
    said = refusal({**CLASSES, "objective": f"adversarial(x, divergence=kl{way})"})
    assert "samples of k carry no gradient" in said
    assert "adversarial(x, fake=score_function)" in said


def test_a_discrete_latent_behind_which_nothing_is_trained_needs_no_gradient() -> None:
    spec = {**CLASSES, "parameters": {name: CLASSES["parameters"][name] for name in "ma"}}
    fixed = {**spec, "model": {**spec["model"], "k": "Categorical(probs=[0.2, 0.3, 0.5])"}}
    assert compile_spec({**fixed, "objective": "adversarial(x, divergence=kl)"}).module.players


def test_a_discrete_code_of_a_joint_critic_is_refused() -> None:
    spec = {
        **SMALL,
        "networks": {"make": "mlp([])", "encode": "mlp([])", "judge": "mlp([])"},
        "model": {"z": "Bernoulli(logits=zeros(3), shape=3)", "e": "Normal(0, 1)", "x": "make(z, e)"},
        "guide": {"z": "Bernoulli(logits=encode(x))", "e": "Normal(0, 1)"},
        "critics": {"(x, z)": "judge(x, z)"},
    }
    assert "samples of z carry no gradient" in refusal({**spec, "objective": "adversarial(x)"})
    taught = {**spec, "objective": "adversarial(x, fake=score_function)"}
    (_, gradient, _), (_, other, _) = losses(taught, "model")
    assert np.abs(gradient["encode.layers.0.weight"]).max() > 1e-6
    np.testing.assert_allclose(gradient["encode.layers.0.weight"], other["encode.layers.0.weight"], rtol=1e-8)


def test_a_single_row_has_no_baseline() -> None:
    assert "at least two rows in a batch" in refusal({**BITS, "train": {"batch_size": 1}})
