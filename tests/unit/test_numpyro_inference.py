"""Inference engines of the NumPyro runtime against exact posteriors, on small hand-written programs.

The model is conjugate: mu ~ N(0, 4^2), y_i ~ N(mu, 1) has the posterior N(m, v) with v = 1 / (1/16 + n), m = v sum(y).
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
import pytest

from dgmppl.backend import Device, Draws
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Literal, Name, Sequence, text
from dgmppl.ir.kernel import Function, Group, Module, Plate
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.program import Program
from dgmppl.ir.settings import Train
from dgmppl.ir.types import POSITIVE, REAL

pytest.importorskip("jax")

pytestmark = pytest.mark.usefixtures("quick_compilation")

executable = pytest.importorskip("dgmppl_numpyro.executable")

NORMAL = textwrap.dedent(
    '''
    """mu ~ N(0, 4), y ~ N(mu, 1)."""

    import numpyro
    import numpyro.distributions as dist

    NETWORKS = {}


    def model(parameters, y=None, *, rows=None, size=None):
        size = size if y is None else len(y)
        rows = size if rows is None else rows
        mu = numpyro.sample("mu", dist.Normal(0.0, 4.0))
        with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


    def log_joint(parameters, batch):
        mu = parameters["mu"]
        return dist.Normal(0.0, 4.0).log_prob(mu) + dist.Normal(mu, 1.0).log_prob(batch["y"]).sum()
    '''
)

# log tau ~ N(0, 1), theta_j ~ N(0, tau), y_j ~ N(theta_j, 1): with tau integrated over a grid, an exact answer.
HIERARCHY = textwrap.dedent(
    '''
    """A scale and four effects."""

    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    NETWORKS = {}


    def model(parameters, y=None):
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("level", 4):
            theta = numpyro.sample("theta", dist.Normal(0.0, tau))
        with numpyro.plate("data", 4):
            numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


    def log_joint(parameters, batch):
        tau, theta = jnp.exp(parameters["tau"]), parameters["theta"]
        prior = dist.LogNormal(0.0, 1.0).log_prob(tau) + dist.Normal(0.0, tau).log_prob(theta).sum()
        return prior + dist.Normal(theta, 1.0).log_prob(batch["y"]).sum()
    '''
)

# mu ~ N(0, 4), z_i ~ N(mu, 1), y_i ~ N(z_i, 1), with an amortized guide that is learned: q(z_i) = N(a y_i + b, s).
AMORTIZED = textwrap.dedent(
    '''
    """A level and local latents."""

    import numpyro
    import numpyro.distributions as dist

    from dgmppl_numpyro import constraints

    NETWORKS = {}


    def model(parameters, y=None, *, rows=None, size=None):
        size = size if y is None else len(y)
        rows = size if rows is None else rows
        mu = numpyro.sample("mu", dist.Normal(0.0, 4.0))
        with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
            z = numpyro.sample("z", dist.Normal(mu, 1.0))
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


    def guide(parameters, y=None, *, rows=None, size=None):
        a = numpyro.param("a", parameters["a"])
        b = numpyro.param("b", parameters["b"])
        s = numpyro.param("s", constraints.positive(parameters["s"]), constraint=dist.constraints.positive)
        with numpyro.plate("data", len(y), dim=-1), numpyro.handlers.scale(scale=rows / len(y)):
            numpyro.sample("z", dist.Normal(a * y + b, s))
    '''
)

HOPELESS = NORMAL.replace("dist.Normal(mu, 1.0)", "dist.Normal(mu / 0.0, 1.0)")

DEVICE = Device("cpu")


def normal(source: str = NORMAL, train: Train | None = None) -> Any:
    spec = ParameterSpec("mu", "mu", (), Initializer("constant", 0.0))
    return executable.Executable(
        source,
        Module(
            program=Program("normal", "", (), train=train or Train()),
            heading=(),
            groups=(Group("mu", "prior", (spec,), REAL),),
            players=(),
            functions=(
                Function("log_joint", "density", (), ""),
                Function("model", "program", (Plate("data", None, ()),), "", columns=(("y", "y"),)),
            ),
        ),
    )


def hierarchy() -> Any:
    tau = ParameterSpec("tau", "tau", (), Initializer("constant", 1.0), POSITIVE)
    theta = ParameterSpec("theta", "theta", (4,), Initializer("constant", 0.0))
    return executable.Executable(
        HIERARCHY,
        Module(
            program=Program("hierarchy", "", ()),
            heading=(),
            groups=(Group("tau", "prior", (tau,), POSITIVE), Group("theta", "prior", (theta,), REAL, "level")),
            players=(),
            functions=(
                Function("log_joint", "density", (), ""),
                Function("model", "program", (), "", columns=(("y", "y"),)),
            ),
        ),
    )


def amortized() -> Any:
    mu = Group("mu", "prior", (ParameterSpec("mu", "mu", (), Initializer("constant", 0.0)),), REAL)
    points = (("a", 0.0, REAL), ("b", 0.0, REAL), ("s", 1.0, POSITIVE))
    learned = (
        Group(name, "learned", (ParameterSpec(name, name, (), Initializer("constant", start), support),), support)
        for name, start, support in points
    )
    plate, columns = (Plate("data", None, ()),), (("y", "y"),)
    train = Train(optimizer=Call("adam", (Literal(0.02),)), schedule=Call("cosine"), batch_size=20)
    return executable.Executable(
        AMORTIZED,
        Module(
            program=Program("amortized", "", (), train=train),
            heading=(),
            groups=(mu, *learned),
            players=(),
            functions=(
                Function("model", "program", plate, "", columns=columns),
                Function("guide", "program", plate, "", columns=columns),
            ),
        ),
    )


Y = np.random.default_rng(0).normal(1.5, 1.0, 40)
VARIANCE = 1 / (1 / 16 + len(Y))
MEAN = VARIANCE * Y.sum()
# log p(y), nats.
EVIDENCE = -0.5 * (len(Y) * math.log(2 * math.pi) + math.log(1 + 16 * len(Y)) + (Y**2).sum() - VARIANCE * Y.sum() ** 2)
EFFECTS = np.array([-2.0, 0.5, 1.0, 4.0])


def engine(name: str, **options: Any) -> Call:
    given = ((key, value if isinstance(value, Call | Sequence) else Literal(value)) for key, value in options.items())
    return Call(name, (), tuple(given))


def infer(program: Any, call: Call, **options: Any) -> Draws:
    y = options.pop("y", Y)
    return program.infer(call, {"y": y}, seed=options.pop("seed", 0), device=DEVICE, **options)


def exact_hierarchy() -> tuple[float, np.ndarray]:
    """E[log tau] and E[theta] given EFFECTS, by quadrature over log tau; y_j | tau ~ N(0, tau^2 + 1)."""
    grid = np.linspace(-7.0, 7.0, 20001)
    tau2 = np.exp(2 * grid)[:, None]
    log_weight = -0.5 * grid**2 - 0.5 * (np.log(tau2 + 1) + EFFECTS**2 / (tau2 + 1)).sum(1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return float(weight @ grid), weight @ (EFFECTS * tau2 / (tau2 + 1))


@pytest.mark.parametrize(
    "call", [engine("nuts", warmup=300, draws=500), engine("hmc", warmup=300, draws=500)], ids=text
)
def test_chains_recover_the_conjugate_posterior(call: Call) -> None:
    seen: list[tuple[int, int, str]] = []
    draws = infer(normal(), call, progress=lambda *report: seen.append(report))
    mu = draws.posterior["mu"]
    assert mu.shape == (4, 500)
    # 2000 draws with an effective size of 400 or more: four standard errors.
    assert abs(mu.mean() - MEAN) < 4 * math.sqrt(VARIANCE / 400)
    assert abs(mu.var() / VARIANCE - 1) < 4 * math.sqrt(2 / 400)
    expected = {"diverging", "energy", "lp", "acceptance_rate", "n_steps", "step_size", "tree_depth"}
    assert set(draws.sample_stats) == expected
    assert all(value.shape == (4, 500) for value in draws.sample_stats.values())
    assert draws.notes == ("4 chains, vectorized on cpu",)
    assert seen[-1][:2] == (800, 800)
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


def test_a_run_is_a_function_of_its_seed() -> None:
    program, call = normal(), engine("nuts", warmup=50, draws=20, chains=2)
    one, same, other = (infer(program, call, seed=seed).posterior["mu"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_chains_can_run_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgmppl_numpyro.mcmc.VECTORIZED_ELEMENTS", 0)
    draws = infer(normal(), engine("nuts", warmup=100, draws=110, chains=3))
    assert draws.posterior["mu"].shape == (3, 110)
    assert draws.notes == ("3 chains, one after another on cpu",)
    assert abs(draws.posterior["mu"].mean() - MEAN) < 4 * math.sqrt(VARIANCE / 60)


@pytest.mark.slow
@pytest.mark.parametrize("sites", [(), ("theta",)], ids=["straight line", "non-centered"])
def test_constraints_and_non_centering_leave_the_posterior_as_it_is(sites: tuple[str, ...]) -> None:
    call = engine("nuts", warmup=400, draws=1000, target_accept=0.95, reparameterize=Sequence(tuple(map(Name, sites))))
    draws = infer(hierarchy(), call, y=EFFECTS)
    assert set(draws.posterior) == {"tau", "theta"}
    assert draws.posterior["theta"].shape == (4, 1000, 4)
    log_tau, theta = exact_hierarchy()
    found = np.log(draws.posterior["tau"])
    # Standard error from the chains themselves: 4 chains, each in 10 batches.
    batches = found.reshape(40, -1).mean(1)
    assert abs(found.mean() - log_tau) < 4 * batches.std() / math.sqrt(40) + 0.01
    np.testing.assert_allclose(draws.posterior["theta"].mean((0, 1)), theta, atol=0.2)


def psis_free_mean(draws: Draws) -> float:
    """The importance-weighted mean: exact whatever the guide, if log p and log q are of the same space."""
    assert draws.log_p is not None
    assert draws.log_q is not None
    log_weights = draws.log_p - draws.log_q
    weights = np.exp(log_weights - log_weights.max())
    return float((weights * draws.posterior["mu"]).sum() / weights.sum())


@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
@pytest.mark.parametrize("batch_size", [None, 10])
def test_svi_recovers_the_conjugate_posterior(family: str, batch_size: int | None) -> None:
    train = Train(optimizer=Call("adam", (Literal(0.02),)), schedule=Call("cosine"), batch_size=batch_size)
    guide = Call("auto", (Name(family),))
    draws = infer(normal(train=train), engine("svi", guide=guide, steps=2000, particles=4))
    mu = draws.posterior["mu"]
    assert mu.shape == (1, 1000)
    assert abs(mu.mean() - MEAN) < 5 * math.sqrt(VARIANCE / 1000) + 0.05 * math.sqrt(VARIANCE)
    assert mu.std() == pytest.approx(math.sqrt(VARIANCE), rel=0.12)
    assert abs(psis_free_mean(draws) - MEAN) < 5 * math.sqrt(VARIANCE / 500)
    # At the optimum the ELBO is log p(y), and so is log p - log q of every draw.
    if batch_size is None:
        assert draws.trace[-200:].mean() == pytest.approx(EVIDENCE, abs=0.05)
    assert float(np.mean(draws.log_p - draws.log_q)) == pytest.approx(EVIDENCE, abs=0.05)  # type: ignore[operator]


def test_svi_adds_an_automatic_guide_to_the_declared_one() -> None:
    draws = infer(amortized(), engine("svi", steps=3000, particles=4, draws=500))
    assert set(draws.posterior) == {"mu", "a", "b", "s"}
    assert all(value.shape == (1, 500) for value in draws.posterior.values())
    # Coordinate ascent's fixed point: q(z_i) = N((y_i + E mu) / 2, 1 / 2), E mu that of the exact posterior.
    exact = Y.sum() / 2 / (1 / 16 + len(Y) / 2)
    found = {name: float(value.mean()) for name, value in draws.posterior.items()}
    assert found["mu"] == pytest.approx(exact, abs=0.06)
    assert found["a"] == pytest.approx(0.5, abs=0.05)
    assert found["b"] == pytest.approx(exact / 2, abs=0.08)
    assert found["s"] == pytest.approx(math.sqrt(0.5), abs=0.04)


def test_a_parameter_without_a_prior_is_not_sampled() -> None:
    with pytest.raises(RunError, match=r"a, b, s without a prior cannot be sampled"):
        infer(amortized(), engine("nuts"))


def test_laplace_is_exact_for_a_normal_posterior() -> None:
    draws = infer(normal(), engine("laplace", draws=4000))
    mu = draws.posterior["mu"]
    assert abs(mu.mean() - MEAN) < 4 * math.sqrt(VARIANCE / 4000)
    assert mu.std() == pytest.approx(math.sqrt(VARIANCE), rel=4 / math.sqrt(8000))
    difference = draws.log_p - draws.log_q  # type: ignore[operator]
    assert np.ptp(difference) < 1e-3


def test_the_mode_is_of_the_constrained_density() -> None:
    found = infer(normal(), engine("map"))
    assert found.posterior["mu"].shape == (1, 1)
    assert found.posterior["mu"][0, 0] == pytest.approx(MEAN, abs=1e-4)
    assert "without the Jacobian" in found.notes[0]


@pytest.mark.slow
def test_smc_recovers_the_conjugate_posterior_and_the_evidence() -> None:
    draws = infer(normal(), engine("smc", particles=2000, draws=2000))
    mu = draws.posterior["mu"]
    assert abs(mu.mean() - MEAN) < 5 * math.sqrt(VARIANCE / 500)
    assert mu.std() == pytest.approx(math.sqrt(VARIANCE), rel=0.15)
    assert float(draws.notes[0].split("about ")[1].split(" nats")[0]) == pytest.approx(EVIDENCE, abs=0.3)


def test_a_hopeless_start_names_the_site() -> None:
    with pytest.raises(RunError, match=r"finite log density in 100 attempts: .* not finite at y"):
        infer(normal(HOPELESS), engine("nuts", warmup=10, draws=10))


def test_mistakes_are_named() -> None:
    with pytest.raises(RunError, match=r"no inference engine 'nutz'; did you mean nuts"):
        infer(normal(), engine("nutz"))
    with pytest.raises(RunError, match="nuts has no option 'draw'; did you mean draws"):
        infer(normal(), engine("nuts", draw=10))
    with pytest.raises(RunError, match="sigma is no parameter with a prior"):
        infer(normal(), engine("nuts", reparameterize=Sequence((Name("sigma"),))))


def test_the_engine_s_text_has_every_option() -> None:
    draws = infer(normal(), engine("laplace", draws=10))
    assert (draws.engine, draws.sampler) == ("laplace(steps=2000, draws=10)", "laplace")
