"""Inference engines of the Pyro runtime against exact posteriors, on small hand-written programs.

The model is conjugate: mu ~ N(0, 4^2), y_i ~ N(mu, 1) has the posterior N(m, v) with v = 1 / (1/16 + n), m = v sum(y).
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
import pytest

from dgmppl.backend import Device, Draws
from dgmppl.errors import RunError, UnsupportedError
from dgmppl.ir.densities import Elementary
from dgmppl.ir.expressions import Call, Literal, Name, Sequence
from dgmppl.ir.kernel import Assign, DensityValue, Function, Group, Module, Number, Op, Plate, Sample, Var
from dgmppl.ir.networks import Network
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.program import Program
from dgmppl.ir.settings import Train
from dgmppl.ir.types import POSITIVE, REAL

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")
executable = pytest.importorskip("dgmppl_pyro.executable")

NORMAL = textwrap.dedent(
    '''
    """mu ~ N(0, 4), y ~ N(mu, 1)."""

    import pyro.distributions as dist

    NETWORKS = {}


    def log_prob(parameters, batch):
        return dist.Normal(parameters["mu"], 1.0).log_prob(batch["y"])


    def log_joint(parameters, batch):
        return dist.Normal(0.0, 4.0).log_prob(parameters["mu"]) + log_prob(parameters, batch).sum()
    '''
)

# log tau ~ N(0, 1), theta_j ~ N(0, tau), y_j ~ N(theta_j, 1): with tau integrated over a grid, an exact answer.
HIERARCHY = textwrap.dedent(
    '''
    """A scale and four effects."""

    import pyro.distributions as dist
    import torch

    NETWORKS = {}


    def log_joint(parameters, batch):
        tau, theta = torch.exp(parameters["tau"]), parameters["theta"]
        prior = dist.LogNormal(0.0, 1.0).log_prob(tau) + dist.Normal(0.0, tau).log_prob(theta).sum()
        return prior + dist.Normal(theta, 1.0).log_prob(batch["y"]).sum()
    '''
)

# Linear regression with weights ~ N(0, 1): y ~ N(w x + b, exp(s)), s a point parameter.
NETWORK = textwrap.dedent(
    '''
    """A network whose weights have a prior."""

    import pyro.distributions as dist
    import torch
    from torch import nn

    NETWORKS = {"net": lambda: nn.Linear(1, 1)}


    def log_prob(parameters, batch):
        return dist.Normal(parameters["net"](batch["x"]), torch.exp(parameters["s"])).log_prob(batch["y"]).sum(-1)


    def log_joint(parameters, batch):
        prior = sum(dist.Normal(0.0, 1.0).log_prob(weight).sum() for weight in parameters["net"].parameters())
        return prior + log_prob(parameters, batch).sum()
    '''
)

HOPELESS = NORMAL.replace('parameters["mu"], 1.0', 'parameters["mu"] / 0.0, 1.0')

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
            functions=(Function("log_joint", "density", (), ""), Function("log_prob", "density", (), "")),
        ),
    )


def hierarchy() -> Any:
    tau = ParameterSpec("tau", "tau", (), Initializer("constant", 1.0), POSITIVE)
    theta = ParameterSpec("theta", "theta", (4,), Initializer("constant", 0.0))
    scale: Op = Op("call", (Op("call", (Var("tau"),), (("function", "log"),)),), (("function", "exp"),))
    body = (
        Sample("tau", DensityValue("LogNormal", (("loc", Number(0.0)), ("scale", Number(1.0))), 0, ())),
        Assign(("spread",), scale),
        Plate(
            "level",
            4,
            (Sample("theta", DensityValue("Normal", (("loc", Number(0.0)), ("scale", Var("spread"))), 0, ())),),
        ),
    )
    return executable.Executable(
        HIERARCHY,
        Module(
            program=Program("hierarchy", "", ()),
            heading=(),
            groups=(Group("tau", "prior", (tau,), POSITIVE), Group("theta", "prior", (theta,), REAL, "level")),
            players=(),
            functions=(Function("log_joint", "density", (), ""), Function("model", "program", body, "")),
        ),
    )


Y = np.random.default_rng(0).normal(1.5, 1.0, 40)
VARIANCE = 1 / (1 / 16 + len(Y))
MEAN = VARIANCE * Y.sum()
EFFECTS = np.array([-2.0, 0.5, 1.0, 4.0])


def engine(name: str, **options: object) -> Call:
    return Call(name, (), tuple((key, expression(value)) for key, value in options.items()))


def expression(value: Any) -> Any:
    return value if isinstance(value, Call | Sequence | Name) else Literal(value)


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
    "call", [engine("nuts", warmup=200, draws=300, chains=2), engine("hmc", warmup=200, draws=300, chains=2)]
)
def test_chains_recover_the_conjugate_posterior(call: Call) -> None:
    seen: list[tuple[int, int, str]] = []
    draws = infer(normal(), call, progress=lambda *report: seen.append(report))
    mu = draws.posterior["mu"]
    assert mu.shape == (2, 300)
    # 600 draws with an effective size of 150 or more: four standard errors.
    assert abs(mu.mean() - MEAN) < 4 * math.sqrt(VARIANCE / 150)
    assert abs(mu.var() / VARIANCE - 1) < 4 * math.sqrt(2 / 150)
    expected = {"diverging", "energy", "lp", "acceptance_rate", "n_steps", "step_size", "tree_depth"}
    assert set(draws.sample_stats) == expected
    assert all(value.shape == (2, 300) for value in draws.sample_stats.values())
    assert draws.notes == ("2 chains, one after another on cpu",)
    assert seen[-1][:2] == (1000, 1000)
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


def test_a_run_is_a_function_of_its_seed() -> None:
    program, call = normal(), engine("nuts", warmup=50, draws=20, chains=2)
    one, same, other = (infer(program, call, seed=seed).posterior["mu"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("sites", [(), ("theta",)], ids=["straight line", "non-centered"])
def test_constraints_and_non_centering_leave_the_posterior_as_it_is(sites: tuple[str, ...]) -> None:
    call = engine(
        "nuts", warmup=200, draws=300, chains=2, target_accept=0.9, reparameterize=Sequence(tuple(map(Name, sites)))
    )
    draws = infer(hierarchy(), call, y=EFFECTS)
    assert set(draws.posterior) == {"tau", "theta"}
    assert draws.posterior["theta"].shape == (2, 300, 4)
    log_tau, theta = exact_hierarchy()
    for found, exact in ((np.log(draws.posterior["tau"])[..., None], log_tau), (draws.posterior["theta"], theta)):
        # Standard errors from the chains themselves: 2 chains, each in 10 batches.
        batches = found.reshape(20, -1, found.shape[-1]).mean(1)
        assert (abs(batches.mean(0) - exact) < 4 * batches.std(0) / math.sqrt(20) + 0.01).all()


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
    draws = infer(normal(train=train), engine("svi", guide=guide, steps=1000, particles=2))
    mu = draws.posterior["mu"]
    assert mu.shape == (1, 1000)
    assert abs(mu.mean() - MEAN) < 5 * math.sqrt(VARIANCE / 1000) + 0.05 * math.sqrt(VARIANCE)
    assert mu.std() == pytest.approx(math.sqrt(VARIANCE), rel=0.15)
    assert abs(psis_free_mean(draws) - MEAN) < 5 * math.sqrt(VARIANCE / 500)
    # At the optimum the ELBO is log p(y), and so is log p - log q of every draw.
    n, total = len(Y), Y.sum()
    evidence = (
        -0.5 * n * math.log(2 * math.pi) - 0.5 * math.log(1 + 16 * n) - 0.5 * ((Y**2).sum() - VARIANCE * total**2)
    )
    if batch_size is None:
        assert draws.trace[-100:].mean() == pytest.approx(evidence, abs=0.05)
    assert float(np.mean(draws.log_p - draws.log_q)) == pytest.approx(evidence, abs=0.05)  # type: ignore[operator]


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


def network() -> Any:
    spec = (
        ParameterSpec("net.weight", "net", (1, 1), Initializer("constant", 0.0)),
        ParameterSpec("net.bias", "net", (1,), Initializer("constant", 0.0)),
    )
    scale = ParameterSpec("s", "s", (), Initializer("constant", 2.0), POSITIVE)
    prior = Elementary("Normal", (("loc", Literal(0.0)), ("scale", Literal(1.0))))
    train = Train(optimizer=Call("adam", (Literal(0.02),)), schedule=Call("cosine"), batch_size=20)
    networks = {"net": Network("net", "linear", {}, prior=prior)}
    return executable.Executable(
        NETWORK,
        Module(
            program=Program("network", "", (), networks=networks, train=train),
            heading=(),
            groups=(Group("net", "network", spec), Group("s", "learned", (scale,), POSITIVE)),
            players=(),
            functions=(Function("log_joint", "density", (), ""), Function("log_prob", "density", (), "")),
        ),
    )


def regression() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(60, 1))
    return {"x": x, "y": 0.8 * x - 0.5 + 0.3 * generator.normal(size=(60, 1))}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["full_rank", "low_rank", "flow"])
def test_svi_infers_weights_and_moves_points_along(family: str) -> None:
    data = regression()
    guide = Call("auto", (Name(family),))
    draws = network().infer(engine("svi", guide=guide, steps=800), data, seed=0, device=DEVICE)
    assert {name: value.shape for name, value in draws.posterior.items()} == {
        "net.weight": (1, 1000, 1, 1), "net.bias": (1, 1000, 1), "s": (1, 1000),
    }  # fmt: skip
    scale = draws.posterior["s"][0, 0]
    assert np.ptp(draws.posterior["s"]) == 0
    assert scale == pytest.approx(0.3, rel=0.3)
    design = np.hstack([data["x"], np.ones((60, 1))])
    covariance = np.linalg.inv(np.eye(2) + design.T @ design / scale**2)
    mean = covariance @ design.T @ data["y"][:, 0] / scale**2
    for name, exact, variance in zip(("net.weight", "net.bias"), mean, covariance.diagonal(), strict=True):
        assert draws.posterior[name].mean() == pytest.approx(exact, abs=0.5 * math.sqrt(variance))
        assert draws.posterior[name].std() == pytest.approx(math.sqrt(variance), rel=0.35)


def test_the_joint_mode_moves_everything() -> None:
    draws = network().infer(engine("map"), regression(), seed=0, device=DEVICE)
    assert draws.posterior["s"].shape == (1, 1)
    assert draws.posterior["s"][0, 0] == pytest.approx(0.3, rel=0.3)
    assert draws.posterior["net.weight"][0, 0, 0, 0] == pytest.approx(0.8, abs=0.15)


def test_nuts_refuses_points() -> None:
    with pytest.raises(RunError, match="s: a parameter without prior cannot be sampled"):
        network().infer(engine("nuts"), regression(), seed=0, device=DEVICE)


def test_nothing_global_moves() -> None:
    before = torch.get_rng_state()
    infer(normal(), engine("svi", steps=5, draws=3))
    infer(normal(), engine("nuts", warmup=5, draws=3, chains=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert not dict(pyro.get_param_store().items())
    assert not pyro.settings.get("module_local_params")


def test_a_hopeless_start_names_the_site() -> None:
    with pytest.raises(
        RunError, match=r"no starting point in 100 draws from uniform\(-2, 2\) has a finite log density"
    ):
        infer(normal(HOPELESS), engine("nuts", warmup=10, draws=10))


def test_mistakes_are_named() -> None:
    with pytest.raises(RunError, match="no inference engine 'nutz'; did you mean nuts"):
        infer(normal(), engine("nutz"))
    with pytest.raises(RunError, match="nuts has no option 'draw'; did you mean draws"):
        infer(normal(), engine("nuts", draw=10))
    with pytest.raises(
        UnsupportedError, match=r"sgld\(\) is not on the pyro backend, which has nuts, hmc, svi, laplace, map"
    ):
        infer(normal(), engine("sgld"))
    with pytest.raises(UnsupportedError, match=r"reparameterize=\[sigma\] needs a prior with a location and a scale"):
        infer(normal(), engine("nuts", reparameterize=Sequence((Name("sigma"),))))


def test_the_engine_s_text_has_every_option() -> None:
    draws = infer(normal(), engine("laplace", draws=10))
    assert (draws.engine, draws.sampler) == ("laplace(steps=2000, draws=10)", "laplace")
