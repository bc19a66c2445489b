"""Relaxed and straight-through draws: by hand on given noise, on both backends; hard in the limit; biased, and said so.

Model: y ~ OneHotCategorical(prior), b ~ Bernoulli(0.3), x ~ N(y . m + b, 1), with q(y) and q(b) of free logits, so that
loss and gradient are a few lines of NumPy and their central differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logit, softmax

import dgmppl as dg
from dgmppl.compiler import check, compile_spec
from dgmppl.errors import UnsupportedError
from tests.support import BACKENDS, Values, both, noise_for

pytestmark = pytest.mark.usefixtures("quick_compilation")

PRIOR = np.array([0.2, 0.3, 0.5])
X = np.random.default_rng(0).normal(size=5)
RELAXED = "elbo(particles=3, estimator={y: gumbel(temperature=0.7), b: gumbel(0.4)})"
THROUGH = "elbo(particles=3, estimator={y: straight_through, b: straight_through()})"


def spec(objective: str = RELAXED, **changes: Any) -> dict[str, Any]:
    return {
        "dgmppl": 1,
        "name": "soft",
        "data": {"x": {"values": X.tolist()}},
        "parameters": {"m": "learned(normal(3))", "l": "learned(normal(3))", "k": "learned(0.3)"},
        "model": {
            "y": f"OneHotCategorical(probs={PRIOR.tolist()})",
            "b": "Bernoulli(0.3)",
            "x": "Normal(sum(y * m) + b, 1)",
        },
        "guide": {"y": "OneHotCategorical(logits=l)", "b": "Bernoulli(logits=k)"},
        "objective": objective,
        **changes,
    }


VALUES = {"m": np.array([-1.0, 0.4, 2.0]), "l": np.array([0.3, -0.2, 0.5]), "k": np.array(0.3)}


def loss_at(values: Values, y: np.ndarray, b: np.ndarray) -> float:
    """The mean over particles and rows of KL(q(b) || p(b)) - log p(x | y, b) - log p(y) + log q(y)."""
    q = expit(values["k"])
    kl = q * np.log(q / 0.3) + (1 - q) * np.log((1 - q) / 0.7)
    likelihood = -0.5 * (X - (y @ values["m"] + b)) ** 2 - 0.5 * np.log(2 * np.pi)
    ratio = y @ (np.log(PRIOR) - log_softmax(values["l"]))
    return float((kl - likelihood - ratio).mean())


def relaxed(values: Values, noise: Values) -> float:
    y = softmax((values["l"] + noise["y"]) / 0.7, -1)
    return loss_at(values, y, expit((values["k"] - logit(noise["b"])) / 0.4))


def hard(values: Values, noise: Values) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.argmax(values["l"] + noise["y"], -1)
    return np.eye(3)[chosen], (noise["b"] < expit(values["k"])).astype(float)


def slopes(function: Any, values: Values, step: float = 1e-6) -> Values:
    """Central differences."""
    found = {}
    for name, value in values.items():
        slope = np.zeros(value.shape)
        for place in np.ndindex(value.shape):
            ahead, behind = ({**values, name: value.copy()} for _ in range(2))
            ahead[name][place] += step
            behind[name][place] -= step
            slope[place] = (function(ahead) - function(behind)) / (2 * step)
        found[name] = slope
    return found


def evaluated(backend: str, objective: str) -> tuple[float, Values, Values]:
    """The loss and its gradient in float64, and the noise that it was given."""
    compiled = compile_spec(spec(objective), backend=backend)
    function = compiled.module.function("loss_model")
    assert function is not None
    noise = noise_for(function, len(X))
    loss, gradient, _ = compiled.executable.loss("model", VALUES, {"x": X}, noise=noise, gradient=True)
    return loss, gradient, noise


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_relaxed_draw_is_the_tempered_softmax_of_its_noise(backend: str) -> None:
    loss, gradient, noise = evaluated(backend, RELAXED)
    assert loss == pytest.approx(relaxed(VALUES, noise), rel=1e-10)
    for name, expected in slopes(lambda values: relaxed(values, noise), VALUES).items():
        np.testing.assert_allclose(gradient[name], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_straight_through_draw_is_hard_with_the_gradient_of_its_mean(backend: str) -> None:
    loss, gradient, noise = evaluated(backend, THROUGH)
    y, b = hard(VALUES, noise)
    assert loss == pytest.approx(loss_at(VALUES, y, b), rel=1e-10)

    def through(values: Values) -> float:
        """Around VALUES the draws move as their means do."""
        moved = softmax(values["l"]) - softmax(VALUES["l"]), expit(values["k"]) - expit(VALUES["k"])
        return loss_at(values, y + moved[0], b + moved[1])

    for name, expected in slopes(through, VALUES).items():
        np.testing.assert_allclose(gradient[name], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_cold_draws_are_hard(backend: str) -> None:
    """Scores that differ by a thousand temperatures leave a weight of e^-1000 to all but the largest."""
    cold = RELAXED.replace("0.7", "1e-6").replace("0.4", "1e-6")
    loss, _, noise = evaluated(backend, cold)
    assert loss == pytest.approx(loss_at(VALUES, *hard(VALUES, noise)), rel=1e-10)
    assert abs(loss - relaxed(VALUES, noise)) > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bound_is_evaluated_without_softness(backend: str) -> None:
    compiled = compile_spec(spec(), backend=backend)
    found = compiled.executable.call("elbo", VALUES, {"x": X})["value"]
    chances = np.outer(softmax(VALUES["l"]), [1 - expit(VALUES["k"]), expit(VALUES["k"])])
    exact = sum(
        chances[state, b] * -loss_at(VALUES, np.eye(3)[state], np.array(float(b))) for state in range(3) for b in (0, 1)
    )
    assert found.mean() == pytest.approx(exact, rel=1e-10)


def test_a_temperature_may_fall_as_training_goes_on() -> None:
    falling = spec("elbo(estimator={y: gumbel(temperature=linear(1, 0.1, steps=100)), b: enumerate})")
    sources = {name: compiled.source for name, compiled in both(falling).items()}
    assert all("relaxed" in text and "step" in text.partition("def loss_model")[2] for text in sources.values())
    fit = dg.compile(falling).fit(steps=3, seed=0)
    assert np.isfinite(fit.parameters["l"]).all()


def test_the_explanation_says_what_is_biased() -> None:
    for objective, value in ((RELAXED, False), (THROUGH, True)):
        facts = dg.compile(spec(objective)).explain()
        (term,) = facts["objective"]["players"][0]["terms"]
        assert (term["value_unbiased"], term["gradient_unbiased"]) == (value, False)
        assert sum("biased" in note for note in facts["notes"]) == 2
        assert facts["backend_support"] == {"numpyro": True, "pyro": True}


@pytest.mark.parametrize("estimator", ["gumbel(temperature=0.5)", "straight_through"])
def test_a_class_by_its_number_cannot_be_softened(estimator: str) -> None:
    changes = {
        "model": {"y": f"Categorical(probs={PRIOR.tolist()})", "x": "Normal(m[y], 1)"},
        "guide": {"y": "Categorical(logits=l)"},
    }
    (found,) = check(spec(f"elbo(estimator={{y: {estimator}}})", **changes))
    assert found.code == "objective-estimator"
    assert "takes indicators, and y has none" in found.message


def test_a_partly_observed_latent_is_not_softened() -> None:
    labels = [1, 0, None, None, 1]
    changes = {
        "data": {"x": {"values": X.tolist()}, "b": {"values": labels, "support": "binary"}},
        "model": {"b": "Bernoulli(0.3)", "x": "Normal(b, 1)"},
        "guide": {"b": "Bernoulli(logits=k)"},
        "parameters": {"k": "learned(0.3)"},
    }
    with pytest.raises(UnsupportedError, match="gumbel for the partly observed 'b'"):
        compile_spec(spec("elbo(estimator={b: gumbel()})", **changes)).module  # noqa: B018


@pytest.mark.parametrize("particles", [1, 2])
def test_only_the_baseline_that_is_there_is_compiled(particles: int) -> None:
    """A score function with the other particles' mean, or an error with a line; no baseline is quietly another one."""
    asked = f"elbo(particles={particles}, estimator={{y: score_function(baseline=moving_average), b: enumerate}})"
    with pytest.raises(UnsupportedError, match=r"the baseline moving_average of 'y'|a score function of one draw"):
        compile_spec(spec(asked)).module  # noqa: B018
    assert compile_spec(spec("elbo(estimator={y: score_function, b: enumerate})")).module.function("loss_model")
