"""ArviZ groups: names, dims, coordinates, units, what is withheld; they survive netCDF and ArviZ itself."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import dgmppl as dg
from dgmppl.backend import Draws
from dgmppl.results import compat
from dgmppl.results.arviz import pareto_k, posterior_group, statistics_group

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz as az

SPECS = Path(__file__).resolve().parents[2] / "specs"
# ArviZ 1.x needs a Python that not every torch has wheels for: there, these tests run on NumPyro alone.
BACKENDS = tuple(name for name, library in (("numpyro", "jax"), ("pyro", "torch")) if find_spec(library))
GROUPS = (
    "posterior", "posterior_predictive", "prior", "prior_predictive", "log_likelihood", "sample_stats",
    "observed_data", "constant_data",
)  # fmt: skip
QUICK = ["infer=nuts(warmup=150, draws=100, chains=2, reparameterize=[theta])"]

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quick_compilation")]


@pytest.fixture(scope="module", params=BACKENDS)
def schools(request: pytest.FixtureRequest) -> dg.Fit:
    return dg.compile(SPECS / "eight_schools.yaml", backend=request.param, overrides=QUICK).fit(seed=0)


def test_levels_are_coordinates(schools: dg.Fit) -> None:
    posterior = schools.to_arviz()["posterior"]
    assert posterior["theta"].dims == ("chain", "draw", "school")
    assert list(posterior["theta"].coords["school"].values) == list("ABCDEFGH")
    assert posterior["mu"].dims == ("chain", "draw")
    assert posterior.attrs["sampler"] == "nuts"


def test_data_groups_hold_raw_values(schools: dg.Fit) -> None:
    data = schools.to_arviz()
    assert data["observed_data"]["y"].values.tolist() == [28, 8, -3, 7, -1, 1, 18, 12]
    assert data["constant_data"]["sigma"].values.tolist() == [15, 10, 16, 11, 9, 11, 10, 18]


def test_expensive_groups_come_only_when_asked_for(schools: dg.Fit) -> None:
    assert {"log_likelihood", "posterior_predictive"}.isdisjoint(compat.groups_of(schools.to_arviz()))
    data = schools.to_arviz("posterior", "log_likelihood", "posterior_predictive", "observed_data", draws=20)
    assert data["log_likelihood"]["y"].shape == (2, 100, 8)
    assert data["posterior_predictive"]["y"].shape == (1, 20, 8)


def test_log_likelihood_is_the_density_of_each_draw(schools: dg.Fit) -> None:
    data = schools.to_arviz("posterior", "log_likelihood")
    theta = data["posterior"]["theta"].values
    sigma = np.array([15, 10, 16, 11, 9, 11, 10, 18])
    y = np.array([28, 8, -3, 7, -1, 1, 18, 12])
    expected = -0.5 * ((y - theta) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(data["log_likelihood"]["y"].values, expected, atol=1e-4)


@pytest.fixture(scope="module")
def everything(schools: dg.Fit) -> Any:
    return schools.to_arviz(*GROUPS, draws=40)


def test_every_group_has_named_dims(everything: Any) -> None:
    groups = compat.groups_of(everything)
    assert set(groups) == set(GROUPS)
    assert groups["prior"]["theta"].dims == ("chain", "draw", "school")
    for name in ("log_likelihood", "posterior_predictive", "prior_predictive"):
        assert groups[name]["y"].dims == ("chain", "draw", "datum"), name
    assert groups["observed_data"]["y"].dtype.kind == "f"
    assert groups["constant_data"]["school"].values.tolist() == list("ABCDEFGH")
    assert {"diverging", "energy", "lp", "acceptance_rate", "tree_depth"} <= set(groups["sample_stats"].data_vars)


def test_prior_draws_follow_the_prior(schools: dg.Fit) -> None:
    """Medians of mu ~ N(0, 5) and tau ~ HalfCauchy(5): the sample median's error is 1 / (2 f(m) sqrt(n))."""
    prior = schools.to_arviz("prior", draws=400)["prior"]
    assert abs(float(prior["mu"].median())) < 4 * 5 * np.sqrt(2 * np.pi) / 2 / np.sqrt(400)
    assert abs(float(prior["tau"].median()) - 5) < 4 * 5 * np.pi / 2 / np.sqrt(400)


def test_arviz_s_numbers(everything: Any) -> None:
    summary = az.summary(everything, var_names=["mu", "theta"])
    assert {"mu", *(f"theta[{school}]" for school in "ABCDEFGH")} == set(summary.index)
    loo = az.loo(everything)
    assert np.isfinite(loo.elpd if compat.major() >= 1 else loo.elpd_loo)
    assert list(az.compare({"one": everything, "other": everything}).index) == ["one", "other"]


def test_arviz_s_plots(everything: Any) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    az.plot_trace(everything, var_names=["mu", "theta"])
    (az.plot_ppc_dist if compat.major() >= 1 else az.plot_ppc)(everything)


def test_netcdf_round_trip(everything: Any, tmp_path: Path) -> None:
    data = everything
    compat.write(data, tmp_path / "p.nc")
    again = compat.read(tmp_path / "p.nc")
    for name, group in compat.groups_of(data).items():
        xr.testing.assert_equal(group, compat.groups_of(again)[name])


def test_a_posterior_run_is_saved_and_loaded(schools: dg.Fit, tmp_path: Path) -> None:
    schools.save(tmp_path / "run")
    loaded = dg.load(tmp_path / "run")
    assert loaded.draws is not None
    assert loaded.draws.sampler == "nuts"
    np.testing.assert_array_equal(loaded.draws.posterior["theta"], schools.draws.posterior["theta"])
    np.testing.assert_allclose(loaded.log_prob(), schools.log_prob(), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_variational_posteriors_withhold_r_hat(backend: str, tmp_path: Path) -> None:
    fit = dg.compile(
        SPECS / "radon.yaml", backend=backend, overrides=["infer=svi(steps=200, draws=200)"]
    ).fit(out=tmp_path / "run")  # fmt: skip
    data = fit.to_arviz()
    assert data["posterior"].attrs["r_hat"] == "withheld"
    assert "approximation" in data["posterior"].attrs["r_hat_reason"]
    statistics = data["sample_stats"]
    assert statistics["log_p"].shape == statistics["log_q"].shape == (1, 200)
    assert statistics["elbo"].shape == (200,)
    assert np.isfinite(statistics.attrs["pareto_k"])
    loaded = dg.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.draws.log_q, fit.draws.log_q)
    assert data["posterior"]["a"].dims == ("chain", "draw", "county")


@pytest.mark.parametrize("backend", BACKENDS)
def test_amortized_latents_have_a_datum_dim(backend: str) -> None:
    fit = dg.compile(SPECS / "vae.yaml", backend=backend).fit(steps=10)
    posterior = fit.to_arviz(draws=5)["posterior"]
    assert posterior["z"].dims == ("chain", "draw", "datum", "z_dim_0")
    assert posterior["z"].shape == (1, 5, 180, 16)
    assert posterior.attrs["r_hat"] == "withheld"


@pytest.mark.skipif(compat.major() >= 1, reason="ArviZ 1 has no psislw on arrays")
def test_pareto_k_is_arviz_s() -> None:
    """Our estimate against ArviZ's own PSIS, on ratios with a light and with a heavy tail."""
    draw = np.random.default_rng(0)
    for scale in (0.3, 1.0, 2.0):
        ratios = scale * draw.standard_normal(2000) ** 2
        _, expected = az.psislw(ratios)
        assert pareto_k(ratios) == pytest.approx(float(expected), abs=1e-6)
    assert np.isnan(pareto_k(np.zeros(3)))


def test_groups_are_named_by_the_axes_of_the_spec() -> None:
    program = dg.compile(SPECS / "radon.yaml").compiled.program
    draws = Draws({"a": np.zeros((2, 3, len(program.levels["county"]))), "b": np.zeros((2, 3))}, sampler="nuts")
    group = posterior_group(program, draws)
    assert group["a"].dims == ("chain", "draw", "county")
    assert statistics_group(draws).data_vars == {}


def test_unknown_and_impossible_groups_are_refused() -> None:
    fit = dg.compile(SPECS / "ppca.yaml").initial()
    with pytest.raises(dg.RunError, match="no group 'posteriors'"):
        fit.to_arviz("posteriors")
    with pytest.raises(dg.RunError, match="held-out nats"):
        fit.to_arviz("log_likelihood")
    with pytest.raises(dg.RunError, match="no guide: there is nothing to draw"):
        dg.compile(SPECS / "realnvp.yaml").initial().to_arviz("posterior")
