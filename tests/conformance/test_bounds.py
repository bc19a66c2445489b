"""Priors whose bounds are expressions of other parameters, against closed forms, autodiff and the libraries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyro
import pytest
import torch
from numpyro import handlers
from numpyro.infer.util import potential_energy
from scipy.special import betaln, gammaln
from scipy.stats import beta, dirichlet, norm, pareto, truncnorm, uniform

import dgmppl as dg
from dgmppl.backend import Draws
from dgmppl.compiler import compile_spec
from dgmppl.errors import SpecError, UnsupportedError
from dgmppl.ir.parameters import initial_values
from tests.support import BACKENDS, SPECS, Values, both, library_log_density

pytestmark = pytest.mark.filterwarnings("ignore")

backends = pytest.mark.parametrize("backend", BACKENDS)
Spec = dict[str, Any]
Y = np.array([0.1, -0.4, 1.3, 0.7, -0.2])

VECTORS: Spec = {
    "dgmppl": 1,
    "name": "vectors",
    "data": {"y": Y.tolist()},
    "parameters": {
        "a": "Flat(0, 1, shape=3)",
        "b": "Flat(low=a, shape=3)",
        "c": "Flat(a, b)",
        "e": "Flat(-a[0], a[1] * [1.0, 2.0])",
        "f": "Flat(high=a[0] - 1)",
        "h": "Uniform(f, 2 * exp(a[1]))",
        "p": "Pareto(exp(h) + 5, 3)",
    },
    "model": {"y": "Normal(sum(a + b + c) + sum(e) + f + h, p)"},
    "infer": "nuts()",
}
VECTOR_VALUES: Values = {
    "a": np.array([0.2, 0.5, 0.7]), "b": np.array([0.4, 0.9, 2.0]), "c": np.array([0.3, 0.6, 1.0]),
    "e": np.array([0.4, -0.1]), "f": np.array(-1.2), "h": np.array(0.3), "p": np.array(7.0),
}  # fmt: skip
LEVELS: Spec = {
    "dgmppl": 1,
    "name": "levels",
    "data": {"y": Y.tolist(), "g": ["p", "q", "r", "q", "p"]},
    "parameters": {
        "a": "Gamma(2, 2)",
        "t": "2 * a",
        "b[g]": "Uniform(0, t)",
        "c[g]": "Flat(0, b, shape=2)",
        "d[g]": "Flat(low=c)",
    },
    "model": {"y": "Normal(a + b[g] + sum(c[g]) + sum(d[g]), 1)"},
    "infer": "nuts()",
}
LEVEL_VALUES: Values = {
    "a": np.array(1.2), "b": np.array([0.4, 0.9, 2.0]), "c": np.array([[0.1, 0.3], [0.5, 0.6], [1.0, 1.8]]),
    "d": np.array([[0.2, 0.6], [0.7, 0.8], [1.5, 1.9]]),
}  # fmt: skip
CUT: Spec = {
    "dgmppl": 1,
    "name": "cut",
    "data": {"y": Y.tolist()},
    "parameters": {
        "a": "Gamma(2, 2)",
        "b": "Truncated(Normal(0, 1), low=0, high=a)",
        "c": "Truncated(HalfNormal(1), high=a)",
        "d": "Truncated(Normal(0, 1), low=a)",
    },
    "model": {"y": "Normal(a + b + c + d, 1)"},
    "infer": "nuts()",
}
CUT_VALUES: Values = {"a": np.array(1.3), "b": np.array(0.4), "c": np.array(0.9), "d": np.array(2.0)}
CASES = {"vectors": (VECTORS, VECTOR_VALUES), "levels": (LEVELS, LEVEL_VALUES), "cut": (CUT, CUT_VALUES)}
cases = pytest.mark.parametrize("case", CASES)


def data_of(spec: Spec) -> Values:
    return {"y": Y, "g": np.array([0, 1, 2, 1, 0])} if "g" in spec["data"] else {"y": Y}


def exact(case: str) -> float:
    """The log joint of the values above, written out, nats."""
    v = CASES[case][1]
    if case == "vectors":
        prior = uniform(-1.2, 1.2 + 2 * math.exp(0.5)).logpdf(0.3) + pareto(3, scale=math.exp(0.3) + 5).logpdf(7.0)
        mean = (v["a"] + v["b"] + v["c"]).sum() + v["e"].sum() + v["f"] + v["h"]
        return float(prior + norm(mean, 7.0).logpdf(Y).sum())
    if case == "cut":
        prior = math.log(4 * 1.3) - 2 * 1.3 + truncnorm(0, 1.3).logpdf([0.4, 0.9]).sum()
        return float(prior + truncnorm(1.3, np.inf).logpdf(2.0) + norm(4.6, 1).logpdf(Y).sum())
    prior = math.log(4 * 1.2) - 2 * 1.2 - 3 * math.log(2 * 1.2)
    mean = (1.2 + v["b"] + v["c"].sum(-1) + v["d"].sum(-1))[[0, 1, 2, 1, 0]]
    return float(prior + norm(mean, 1).logpdf(Y).sum())


@cases
@backends
def test_both_backends_and_their_libraries_agree_with_the_density_written_out(case: str, backend: str) -> None:
    spec, values = CASES[case]
    compiled, data = both(spec)[backend], data_of(spec)
    ours = compiled.executable.call("log_joint", values, data)["value"]
    library = library_log_density(backend, compiled.executable.library_model(values), data, values)
    assert float(ours) == pytest.approx(exact(case), abs=1e-9)
    assert library == pytest.approx(exact(case), abs=1e-9)


@backends
def test_between_bounds_in_the_wrong_order_nothing_has_a_density(backend: str) -> None:
    """The map goes on beyond the point at which the upper bound passes the lower one; the density does not."""
    spec = {
        "dgmppl": 1,
        "data": {"y": Y.tolist()},
        "parameters": {"a": "Flat(0, 1, shape=3)", "b": "Flat(0, 1 - sum(a))"},
        "model": {"y": "Normal(b, 1)"},
        "infer": "nuts()",
    }
    call = compile_spec(spec, backend=backend).executable.call
    inside = {"a": np.array([0.1, 0.2, 0.3]), "b": np.array(0.3)}
    crossed = {"a": np.array([0.5, 0.5, 0.5]), "b": np.array(-0.25)}
    assert float(call("log_joint", inside, {"y": Y})["value"]) == pytest.approx(norm(0.3, 1).logpdf(Y).sum())
    assert float(call("log_joint", crossed, {"y": Y})["value"]) == -math.inf


def _flat(values: Values) -> tuple[np.ndarray, Any]:
    order = list(values)
    sizes = np.cumsum([values[name].size for name in order])[:-1]

    def split(vector: Any, library: Any) -> dict[str, Any]:
        pieces = library.split(vector, sizes) if library is jnp else torch.tensor_split(vector, sizes.tolist())
        return {name: piece.reshape(values[name].shape) for name, piece in zip(order, pieces, strict=True)}

    return np.concatenate([values[name].reshape(-1) for name in order]), split


@cases
def test_the_log_determinant_is_that_of_the_whole_map(case: str) -> None:
    """The Jacobian of all parameters at once, by autodiff: off its blocks it is triangular, which no rule assumes."""
    spec, values = CASES[case]
    found = {}
    with jax.enable_x64(True):
        tree = compile_spec(spec, backend="numpyro").executable._program.tree
        vector, split = _flat({name: np.asarray(raw) for name, raw in tree.load(values).items()})
        join = lambda raw: jnp.concatenate([part.reshape(-1) for part in tree.constrain(split(raw, jnp)).values()])  # noqa: E731
        jacobian = jax.jacfwd(join)(jnp.asarray(vector))
        found["numpyro"] = float(tree.log_abs_det(split(jnp.asarray(vector), jnp)))
        wanted = float(jnp.linalg.slogdet(jacobian)[1])
        np.testing.assert_allclose(join(jnp.asarray(vector)), _flat(values)[0], atol=1e-12)
    tree = compile_spec(spec, backend="pyro").executable._program.tree
    raw = split(torch.tensor(vector), torch)
    found["pyro"] = float(tree.log_abs_det(raw))
    np.testing.assert_allclose(_flat({k: v.numpy() for k, v in tree.constrain(raw).items()})[0], _flat(values)[0])
    assert found == pytest.approx({"numpyro": wanted, "pyro": wanted}, abs=1e-9)


@cases
def test_numpyro_explores_the_emitted_model_at_the_same_density(case: str) -> None:
    """Its own unconstraining map is ours, bounds that move included: the potentials are equal."""
    spec, values = CASES[case]
    with jax.enable_x64(True):
        compiled = compile_spec(spec, backend="numpyro")
        raw = compiled.executable._program.tree.load(values)
        data = {name: jnp.asarray(column) for name, column in data_of(spec).items()}
        potential = potential_energy(compiled.executable.library_model(values), (), {**data, "rows": 5}, raw)
        tree = compiled.executable._program.tree
        wanted = exact(case) + float(tree.log_abs_det(raw))
    assert -float(potential) == pytest.approx(wanted, abs=1e-9)


@cases
@backends
def test_the_start_lies_inside(case: str, backend: str) -> None:
    spec, _ = CASES[case]
    compiled = compile_spec(spec, backend=backend)
    values = initial_values(compiled.module.parameters, 0)
    assert np.isfinite(compiled.executable.call("log_joint", values, data_of(spec))["value"])


# ---- posteriors in closed form --------------------------------------------------------------------------------------

COUNTS = np.array([7, 3, 12])


@dataclass(frozen=True)
class Simplex:
    """Counts under probabilities (a, b, 1 - a - b): a flat prior on the triangle, or a uniform stick.

    Flat: the posterior is Dirichlet(1 + n). Uniform: a ~ Beta(1 + n_1, 1 + n_2 + n_3), and b / (1 - a) likewise.
    """

    prior: str

    def spec(self, engine: str, **sections: Any) -> Spec:
        return {
            "dgmppl": 1,
            "data": {"y": np.repeat(np.arange(3), COUNTS).tolist()},
            "parameters": {"a": f"{self.prior}(0, 1)", "b": f"{self.prior}(0, 1 - a)"},
            "model": {"y": "Categorical(logits=log(stack(a, b, 1 - a - b)))"},
            "infer": engine,
            "train": {"schedule": "cosine()", "optimizer": "adam(rate=0.05)"},
            **sections,
        }

    @property
    def evidence(self) -> float:
        n1, n2, n3 = COUNTS
        if self.prior == "Flat":
            return float(gammaln(1 + COUNTS).sum() - gammaln(3 + COUNTS.sum()))
        return float(betaln(1 + n1, 1 + n2 + n3) + betaln(1 + n2, 1 + n3))

    @property
    def means(self) -> dict[str, float]:
        n1, n2, n3 = COUNTS
        if self.prior == "Flat":
            mean = dirichlet(1 + COUNTS).mean()
            return {"a": float(mean[0]), "b": float(mean[1])}
        first, second = beta(1 + n1, 1 + n2 + n3), beta(1 + n2, 1 + n3)
        return {"a": float(first.mean()), "b": float((1 - first.mean()) * second.mean())}


SIMPLEX = {prior: Simplex(prior) for prior in ("Flat", "Uniform")}
priors = pytest.mark.parametrize("prior", SIMPLEX)


def inferred(spec: Spec, backend: str) -> Draws:
    draws = dg.compile(spec, backend=backend).fit(seed=0, precision="float64").draws
    assert draws is not None
    return draws


@priors
@backends
def test_nuts_finds_the_closed_form(prior: str, backend: str) -> None:
    import arviz as az

    case = SIMPLEX[prior]
    draws = inferred(case.spec("nuts(warmup=300, draws=500, chains=2)"), backend).posterior
    assert (draws["a"] + draws["b"] < 1).all()
    for name, mean in case.means.items():
        assert abs(draws[name].mean() - mean) < 4 * float(az.mcse(draws[name])), name


@pytest.mark.parametrize(
    ("prior", "engine"),
    [("Flat", "svi(guide=auto(full_rank), steps=800, draws=2000)"), ("Uniform", "laplace(draws=2000)")],
)
@backends
def test_weights_correct_an_approximation(prior: str, backend: str, engine: str) -> None:
    """Weights p / q give the exact evidence and means, whatever space both densities are written in."""
    case = SIMPLEX[prior]
    draws = inferred(case.spec(engine), backend)
    assert draws.log_p is not None
    ratios = (draws.log_p - draws.log_q)[0]
    weights = np.exp(ratios - case.evidence)
    assert weights.std() < 1.5  # else the standard errors below would say little
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(len(weights))
    for name, mean in case.means.items():
        values = draws.posterior[name][0]
        estimate = (weights * values).sum() / weights.sum()
        error = np.sqrt((weights**2 * (values - estimate) ** 2).sum()) / weights.sum()
        assert abs(estimate - mean) < 4 * error, name


@backends
def test_the_mode_is_that_of_the_counts(backend: str) -> None:
    spec = SIMPLEX["Flat"].spec("map()")
    parameters = dg.compile(spec, backend=backend).fit(seed=0, precision="float64").parameters
    found = [float(parameters[name]) for name in ("a", "b")]
    np.testing.assert_allclose(found, COUNTS[:2] / COUNTS.sum(), atol=1e-4)


@pytest.mark.slow
def test_particles_move_between_bounds_that_move() -> None:
    case = SIMPLEX["Uniform"]
    draws = inferred(case.spec("smc(particles=1000, draws=1000)"), "numpyro").posterior
    for name, mean in case.means.items():
        assert abs(draws[name].mean() - mean) < 5 * draws[name].std() / math.sqrt(500), name


@backends
def test_a_declared_guide_beside_bounds_that_move(backend: str) -> None:
    """Model: m ~ N(0, 1), w ~ U(m, m + 1), z ~ N(w, 1), y ~ N(z, 1): the draws of w stay between their bounds."""
    spec = {
        "dgmppl": 1,
        "data": {"y": [0.3, 0.9, 1.4]},
        "parameters": {"m": "Normal(0, 1)", "w": "Uniform(m, m + 1)", "s": "learned(positive())"},
        "model": {"z": "Normal(w, 1)", "y": "Normal(z, 1)"},
        "guide": {"z": "Normal(y, s)"},
        "infer": "svi(steps=300, draws=200)",
        "train": {"optimizer": "adam(rate=0.03)"},
    }
    draws = inferred(spec, backend)
    gap = draws.posterior["w"] - draws.posterior["m"]
    assert ((gap > 0) & (gap < 1)).all()
    assert np.isfinite(draws.log_p).all()
    assert np.isfinite(draws.log_q).all()


# ---- the canonical recursion ----------------------------------------------------------------------------------------


def volatility(values: Values, first: float, y: np.ndarray) -> np.ndarray:
    """The standard deviations of a GARCH(1, 1), step by step."""
    s = [first]
    for past in y[:-1]:
        gap = (past - values["mu"]) ** 2
        s.append(float(np.sqrt(values["a0"] + values["a1"] * gap + values["b1"] * s[-1] ** 2)))
    return np.array(s)


@backends
def test_a_library_draws_a_series_whose_computed_chain_reads_it(backend: str) -> None:
    """Given data, its density is ours; without them, the series and its volatility are drawn together."""
    compiled = compile_spec(SPECS / "garch.yaml", backend=backend)
    values = {"mu": np.array(0.3), "a0": np.array(0.7), "a1": np.array(0.5), "b1": np.array(0.4)}
    y = np.random.default_rng(0).normal(size=300)
    data, program = {"y": y[None], "sigma0": np.array([0.8])}, compiled.executable.library_model(values)
    wanted = norm(0.3, volatility(values, 0.8, y)).logpdf(y).sum()
    assert float(compiled.executable.call("log_joint", values, data)["value"]) == pytest.approx(wanted, abs=1e-9)
    assert library_log_density(backend, program, data, values) == pytest.approx(wanted, abs=1e-9)
    drawn = predicted(backend, program, {"sigma0": data["sigma0"]}, values)
    np.testing.assert_allclose(drawn["s"][0], volatility(values, 0.8, drawn["y"][0].astype(np.float64)), rtol=1e-4)
    standard = (drawn["y"][0] - 0.3) / drawn["s"][0]
    assert abs(standard.mean()) < 4 / math.sqrt(300)
    assert abs((standard**2).mean() - 1) < 4 * math.sqrt(2 / 300)


def predicted(backend: str, program: Any, columns: Values, values: Values) -> dict[str, np.ndarray]:
    """The sites of one run of a library's program with its parameters held."""
    if backend == "numpyro":
        held = handlers.substitute(handlers.seed(program, jax.random.key(1)), data=values)
        trace = handlers.trace(held).get_trace(**{name: jnp.asarray(column) for name, column in columns.items()})
        return {name: np.asarray(trace[name]["value"]) for name in ("y", "s")}
    pyro.set_rng_seed(1)
    held = pyro.condition(program, data={name: torch.tensor(value).float() for name, value in values.items()})
    sites = pyro.poutine.trace(held).get_trace(
        **{name: torch.tensor(column).float() for name, column in columns.items()}
    )
    return {name: sites.nodes[name]["value"].numpy() for name in ("y", "s")}


# ---- what is refused ------------------------------------------------------------------------------------------------


def refusal(parameters: dict[str, str], **data: Any) -> str:
    spec = {
        "dgmppl": 1,
        "data": {"y": Y.tolist(), **data},
        "parameters": parameters,
        "model": {"y": "Normal(b, 1)" if "b" in parameters else "Normal(b[g], 1)"},
        "infer": "nuts()" if "s" not in parameters else "svi()",
    }
    with pytest.raises((SpecError, UnsupportedError)) as caught:
        compile_spec(spec, backend="numpyro").module  # noqa: B018
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span is not None
    return f"{diagnostic.code}: {diagnostic.message}"


def test_bounds_in_a_circle_are_refused() -> None:
    assert refusal({"b": "Flat(0, 1 - a)", "a": "Flat(0, b)"}).startswith("use-before-definition")
    assert refusal({"b": "Flat(0, 1 - b)"}).startswith("self-reference")


def test_bounds_that_read_what_has_no_prior_are_refused() -> None:
    text = refusal({"s": "learned(positive())", "b": "Flat(0, s)"})
    assert text.startswith("not-lowered: a bound of 'b' that reads 's', which is learned,")
    columns = {"g": ["p", "q", "r", "q", "p"], "cap": {"values": [1.0, 2.0, 3.0], "per": "g"}}
    text = refusal({"b[g]": "Flat(0, cap)"}, **columns)
    assert text.startswith("not-lowered: a bound of 'b' that reads 'cap', which is data,")


@backends
def test_a_proper_density_between_bounds_that_are_data_keeps_its_half_line(backend: str) -> None:
    spec = {
        "dgmppl": 1,
        "data": {"y": Y.tolist(), "g": ["p", "q", "r", "q", "p"], "cap": {"values": [1.0, 2.0, 3.0], "per": "g"}},
        "parameters": {"b[g]": "Uniform(0, cap)"},
        "model": {"y": "Normal(b[g], 1)"},
        "infer": "nuts()",
    }
    call = compile_spec(spec, backend=backend).executable.call
    data, b = {"y": Y, "g": np.array([0, 1, 2, 1, 0]), "cap": np.array([1.0, 2.0, 3.0])}, np.array([0.5, 1.5, 0.2])
    wanted = -math.log(6.0) + norm(b[data["g"]], 1).logpdf(Y).sum()
    assert float(call("log_joint", {"b": b}, data)["value"]) == pytest.approx(wanted, abs=1e-9)
    assert float(call("log_joint", {"b": b + 2.0}, data)["value"]) == -math.inf
