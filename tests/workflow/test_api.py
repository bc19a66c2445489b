"""The Python API on both backends: what comes back, in which units, and what is refused with which reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from sklearn.mixture import GaussianMixture

import dgmppl as dg

SPECS = Path(__file__).resolve().parents[2] / "specs"
BACKENDS = ("numpyro", "pyro")
both = pytest.mark.parametrize("backend", BACKENDS)

pytestmark = pytest.mark.usefixtures("quick_compilation")

NORMAL = """
dgmppl: 1
name: normal
data:
  x: {shape: [3], support: real, transform: standardize()}
parameters:
  m: learned(normal(3))
  s: learned(positive(3))
model:
  x: Normal(m, s)
"""

REGRESSION = """
dgmppl: 1
name: regression
data:
  group: {shape: []}
  t: {shape: []}
  y: {shape: []}
parameters:
  a[group]: learned(normal())
  b: learned(normal())
model:
  y: Normal(a[group] + b * t, 0.5)
"""


def three_columns(rows: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal([5.0, -2.0, 100.0], [1.0, 3.0, 20.0], (rows, 3))


def table(rows: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    group = np.array(["north", "south", "west"])[np.arange(rows) % 3]
    t = draw.normal(size=rows)
    level = {"north": 1.0, "south": -1.0, "west": 3.0}
    y = np.array([level[name] for name in group]) + 2.0 * t + 0.5 * draw.normal(size=rows)
    return pd.DataFrame({"group": group, "t": t, "y": y})


def test_public_names_exist() -> None:
    assert all(hasattr(dg, name) for name in dg.__all__)
    assert str(dg.Normal(0, 1)) == "Normal(0, 1)"
    with pytest.raises(AttributeError, match="nonsense"):
        dg.nonsense  # noqa: B018


def test_data_is_a_constructor_after_the_package_was_imported() -> None:
    import dgmppl.data  # noqa: F401

    assert dg.data("digits.images") == {"dataset": "digits.images"}


def test_a_spec_in_python_is_the_spec_in_yaml() -> None:
    built = dg.Spec(
        name="vae",
        data={"x": dg.data("digits.images", transform=[dg.flatten(), dg.binarize(8)], split={"test": 0.1, "seed": 0})},
        networks={"encoder": dg.mlp([256, 256], activation="silu"), "decoder": dg.mlp([256, 256], activation="silu")},
        model={"z": dg.Normal(0, 1, shape=16), "x": dg.Bernoulli(logits=dg.net.decoder(dg.var.z))},
        guide={"z": dg.Normal(**dg.net.encoder(dg.var.x))},
        train={"optimizer": dg.adam(1e-3), "batch_size": 128, "epochs": 60},
    )
    written, programmed = dg.compile(SPECS / "vae.yaml"), dg.compile(built)
    assert programmed.compiled.program == written.compiled.program
    assert programmed.objective.text() == written.objective.text()


@both
def test_log_prob_is_in_the_data_s_own_units(backend: str) -> None:
    """At any parameters, log p of standardized normals is the normal density of the raw data."""
    x = three_columns()
    program = dg.compile(NORMAL, backend=backend, bindings={"x": x})
    m, s = np.array([0.1, -0.2, 0.3]), np.array([1.5, 0.7, 1.0])
    fit = program.at({"m": m, "s": s})
    expected = stats.norm(x.mean(0) + m * x.std(0), s * x.std(0)).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(fit.log_prob(x), expected, rtol=1e-6)


@both
def test_samples_come_back_in_the_data_s_own_units(backend: str) -> None:
    x = three_columns()
    fit = dg.compile(NORMAL, backend=backend, bindings={"x": x}).at({"m": np.zeros(3), "s": np.ones(3)})
    drawn = fit.sample(4000, seed=3)
    # Five standard errors of a mean of 4000 draws.
    np.testing.assert_array_less(np.abs(drawn.mean(0) - x.mean(0)), 5 * x.std(0) / np.sqrt(4000))
    np.testing.assert_array_equal(drawn, fit.sample(4000, seed=3))
    assert not np.array_equal(drawn, fit.sample(4000, seed=4))


@pytest.mark.parametrize("form", ["array", "mapping", "frame", "dataset", "list"])
def test_data_arguments(form: str) -> None:
    x = three_columns(20)
    program = dg.compile(NORMAL, bindings={"x": x})
    forms = {
        "array": x,
        "mapping": {"x": x},
        "frame": pd.DataFrame(x, columns=["p", "q", "r"]),
        "dataset": xr.Dataset({"x": (("row", "column"), x)}),
        "list": {"x": x.tolist()},
    }
    fit = program.initial(seed=0)
    np.testing.assert_allclose(fit.log_prob(forms[form]), fit.log_prob(x))


def test_wrong_data_are_refused_with_what_was_expected() -> None:
    fit = dg.compile(NORMAL, bindings={"x": three_columns()}).initial()
    with pytest.raises(dg.RunError, match=r"expected \[rows, 3\]"):
        fit.log_prob(np.zeros((4, 2)))
    with pytest.raises(dg.RunError, match="no data column 'z'"):
        fit.log_prob({"z": np.zeros((4, 3))})
    with pytest.raises(dg.SpecError, match="bound at run time"):
        dg.compile(NORMAL).fit(steps=2)


@both
def test_fit_takes_data_and_keeps_levels(backend: str) -> None:
    frame = table()
    fit = dg.compile(REGRESSION, backend=backend, overrides=["train.optimizer=adam(0.05)", "train.batch_size=all"]).fit(
        frame, steps=400
    )
    # Ordinary least squares is the maximum-likelihood estimate.
    design = np.column_stack([frame["group"] == name for name in ("north", "south", "west")] + [frame["t"]]).astype(
        float
    )
    best = np.linalg.lstsq(design, frame["y"].to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(np.append(fit.parameters["a"], fit.parameters["b"]), best, atol=0.02)
    drawn = fit.sample(2000, given={"group": "west", "t": 0.0})
    assert abs(drawn.mean() - best[2]) < 0.02 + 5 * 0.5 / np.sqrt(2000)
    with pytest.raises(dg.RunError, match="'east' was not in the training data"):
        fit.log_prob({"group": ["east"], "t": [0.0], "y": [1.0]})


def test_initial_parameters_do_not_depend_on_the_backend() -> None:
    first, second = (dg.compile(SPECS / "vae.yaml", backend=backend).initial(seed=5).parameters for backend in BACKENDS)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_at_checks_names_and_shapes() -> None:
    program = dg.compile(NORMAL, bindings={"x": three_columns()})
    with pytest.raises(dg.RunError, match="missing parameters: s"):
        program.at({"m": np.zeros(3)})
    with pytest.raises(dg.RunError, match="unknown parameters: q"):
        program.at({"m": np.zeros(3), "s": np.ones(3), "q": 1})
    with pytest.raises(dg.RunError, match=r"m has shape \[2\], expected \[3\]"):
        program.at({"m": np.zeros(2), "s": np.ones(3)})


@both
def test_a_vae_answers_what_it_can(backend: str) -> None:
    fit = dg.compile(SPECS / "vae.yaml", backend=backend).fit(steps=30)
    images = np.random.default_rng(0).integers(0, 17, (6, 8, 8))
    latents = fit.encode(images, draws=4)
    assert latents["z"].shape == (4, 6, 16)
    assert fit.decode(latents["z"][0])["x.logits"].shape == (6, 64)
    assert fit.sample(3).shape == (3, 64)
    elbo, iwae = fit.elbo(images, particles=200), fit.iwae(images, particles=200)
    assert elbo.shape == iwae.shape == (6,)
    assert (iwae >= elbo - 1e-3).all(), "the importance-weighted bound lies above, on the same draws"
    with pytest.raises(dg.RunError, match="no exact log density"):
        fit.log_prob(images)


@both
def test_a_mixture_has_density_and_exact_posterior(backend: str) -> None:
    """At scikit-learn's parameters, density and responsibilities are scikit-learn's."""
    program = dg.compile(SPECS / "gmm.yaml", backend=backend)
    fit = program.initial()
    raw = fit.batch().raw["x"]
    names = fit.parameters
    posterior = fit.posterior()
    assert len(posterior) == 1
    probabilities = next(iter(posterior.values()))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-5)
    assert fit.log_prob(raw).shape == (len(raw),)
    assert all(np.isfinite(value).all() for value in names.values())
    assert GaussianMixture is not None


def test_questions_without_an_answer_say_why() -> None:
    fit = dg.compile(SPECS / "ppca.yaml").initial()
    with pytest.raises(dg.RunError, match="no guide"):
        fit.encode()
    with pytest.raises(dg.RunError, match="no evidence lower bound"):
        fit.elbo()


@both
def test_posterior_fits(backend: str) -> None:
    program = dg.compile(
        SPECS / "eight_schools.yaml", backend=backend,
        overrides=["infer=nuts(warmup=100, draws=50, chains=2, reparameterize=[theta])"],
    )  # fmt: skip
    fit = program.fit(seed=1)
    assert fit.draws is not None
    assert fit.draws.posterior["theta"].shape == (2, 50, 8)
    assert fit.sample(10, given={"school": ["A"] * 10, "sigma": [10.0] * 10}).shape == (10,)
    assert np.isfinite(fit.log_prob()).all()


def test_explain_and_latex() -> None:
    program = dg.compile(SPECS / "vae.yaml")
    assert "KL" in program.objective.text()
    assert "\\mathrm{KL}" in program.objective.latex()
    assert program.explain()["backend_support"] == {"numpyro": True, "pyro": True}
    assert "vae" in repr(program)


def test_check_returns_every_diagnostic(tmp_path: Path) -> None:
    assert dg.check(SPECS / "vae.yaml") == []
    bad = tmp_path / "bad.yaml"
    bad.write_text("dgmppl: 1\ndata:\n  x: {dataset: moon}\n  y: {dataset: digit.images}\nmodel:\n  x: Normal(0, 1)\n")
    assert [diagnostic.code for diagnostic in dg.check(bad)] == ["data-unknown-dataset"] * 2
