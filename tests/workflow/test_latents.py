"""A table with holes from the command line to ArviZ: latents of rows and gaps by name, predictives, refusals."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import dgmppl as dg
from dgmppl.cli import app
from dgmppl.errors import RunError
from tests.support import BACKENDS

with warnings.catch_warnings():
    # 0.23 announces 1.0 once a day.
    warnings.simplefilter("ignore")
    import arviz as az

pytestmark = [pytest.mark.usefixtures("quick_compilation"), pytest.mark.filterwarnings("ignore")]

# Row 1 lacks x, row 3 lacks y, row 4 lacks x; rows are counted from 0.
TABLE = "x,y\n0.5,1.0\n,0.2\n1.5,1.9\n-0.3,\n,2.5\n2.0,2.2\n"
SPEC = """\
dgmppl: 1
name: holes
data:
  x: {file: holes.csv, column: x}
  y: {file: holes.csv, column: y}
parameters:
  b: Normal(0, 1)
model:
  x: Normal(0, 1)
  u: Gamma(2, 2)
  y: Normal(b * x, u)
infer: nuts(warmup=40, draws=30, chains=2)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_table_with_holes(backend: str, tmp_path: Path) -> None:
    def ran(*words: str) -> str:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return result.output

    (tmp_path / "holes.csv").write_text(TABLE)
    (tmp_path / "holes.yaml").write_text(SPEC)
    out = tmp_path / "run"
    fit = ("fit", str(tmp_path / "holes.yaml"), "--backend", backend, "--out", str(out))
    assert "x.missing[4]" in ran(*fit)
    ran(*fit, "--resume")
    ran("sample", str(out), "-n", "3", "-o", str(tmp_path / "samples.csv"))
    ran("posterior", str(out), "-o", str(tmp_path / "posterior.nc"))
    loaded = dg.load(out)
    posterior = loaded.posterior()
    assert {name: values.shape for name, values in posterior.items()} == {
        "b": (2, 30), "u": (2, 30, 6), "x.missing": (2, 30, 2),
    }  # fmt: skip
    assert (posterior["u"] > 0).all()
    groups = loaded.to_arviz("posterior", "posterior_predictive", "prior_predictive", "observed_data", draws=5)
    drawn = groups["posterior"]
    assert list(drawn["x.missing"].coords["x.missing_entry"].values) == [1, 4]
    assert list(drawn["u"].coords["datum"].values) == list(range(6))
    assert {"b", "u[5]", "x.missing[1]", "x.missing[4]"} < set(az.summary(groups).index)
    assert groups["posterior_predictive"]["y"].shape[2:] == (6,)
    assert groups["prior_predictive"]["x"].shape[2:] == (6,)
    observed = groups["observed_data"]["x"].values
    assert np.isnan(observed).tolist() == [False, True, False, False, True, False]
    for refused in (loaded.log_prob, loaded.score, lambda: loaded.to_arviz("log_likelihood")):
        with pytest.raises(RunError, match="latents stay in the log joint"):
            refused()
    with pytest.raises(RunError, match="a row's own latents as known"):
        loaded.to_arviz("log_likelihood")
