"""Device and precision of what is asked of a fit: `Fit.to`, `dg.load` and the options of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

import dgmppl as dg
import dgmppl_numpyro.devices as jax_devices
import dgmppl_pyro.devices as torch_devices
from dgmppl.backend import Device
from dgmppl.cli import app
from dgmppl.errors import RunError
from tests.support import SPECS

pytestmark = pytest.mark.usefixtures("quick_compilation")

BACKENDS: dict[str, ModuleType] = {"pyro": torch_devices, "numpyro": jax_devices}
SMALL = ["networks.encoder=mlp([8])", "networks.decoder=mlp([8])", "evaluate.particles=4"]
LATENTS = np.random.default_rng(0).normal(size=(5, 16))


@pytest.fixture(params=BACKENDS)
def fit(request: pytest.FixtureRequest) -> dg.Fit:
    return dg.compile(SPECS / "vae.yaml", backend=request.param, overrides=SMALL).initial()


@pytest.fixture(scope="module", params=BACKENDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("runs") / request.param
    program = dg.compile(SPECS / "gmm.yaml", backend=request.param)
    program.fit(steps=2, out=out, precision="float64")
    return out


def test_precision_is_that_of_the_arithmetic(fit: dg.Fit) -> None:
    answers = {
        name: fit.to("cpu", precision).decode(LATENTS)["x.logits"]
        for name, precision in (("own", None), ("float32", "float32"), ("float64", "float64"), ("bfloat16", "bfloat16"))
    }
    assert {name: value.dtype for name, value in answers.items()} == {
        name: np.dtype(np.float64 if name == "float64" else np.float32) for name in answers
    }
    np.testing.assert_array_equal(answers["own"], answers["float32"])
    np.testing.assert_array_equal(answers["own"], fit.decode(LATENTS)["x.logits"])
    # 24 bits of mantissa in sums of a few terms; 8 bits where factors are rounded (XLA's processors do not).
    scale = np.abs(answers["float64"]).max()
    assert 0 < np.abs(answers["float32"] - answers["float64"]).max() < 1e-5 * scale
    assert np.abs(answers["bfloat16"] - answers["float64"]).max() < 3e-2 * scale
    if fit.program.backend == "pyro":
        assert np.abs(answers["bfloat16"] - answers["float64"]).max() > 1e-4 * scale


def test_a_fit_stays_where_it_was(fit: dg.Fit) -> None:
    moved = fit.to("cpu", "float64")
    assert (fit.device, moved.device) == (None, Device("cpu", "float64"))
    assert {value.dtype for value in fit.parameters.values()} == {np.dtype(np.float32)}
    assert moved.to("cpu").device == Device("cpu", "float64")


def test_what_is_not_there_is_refused(fit: dg.Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKENDS[fit.program.backend], "kinds", lambda: ("cpu",))
    with pytest.raises(RunError, match="there is no device 'cuda'; available: cpu, or auto"):
        fit.to("cuda")
    for wrong in ({"device": "tpu"}, {"precision": "float16"}, {"threads": 0}):
        with pytest.raises(RunError, match=r"is none of|at least one thread"):
            fit.to(**wrong)


def test_questions_reach_the_device(fit: dg.Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer asks for the device that it is computed on."""
    devices, asked = BACKENDS[fit.program.backend], []
    chosen = devices.select

    def select(device: Device) -> object:
        asked.append(device)
        return chosen(device)

    moved = fit.to("cpu", "bfloat16")
    monkeypatch.setattr(devices, "select", select)
    questions: tuple[Callable[[], object], ...] = (
        lambda: moved.sample(2), lambda: moved.elbo(particles=1), lambda: moved.encode(), lambda: moved.decode(LATENTS),
        lambda: moved.evaluate(), lambda: moved.to_arviz("posterior", draws=2),
    )  # fmt: skip
    for answer in questions:
        asked.clear()
        answer()
        assert set(asked) == {Device("cpu", "bfloat16")}


def test_a_run_is_loaded_where_it_is_wanted(run: Path) -> None:
    values = {name: dg.load(run, device="cpu", precision=name).log_prob() for name in ("float32", "float64")}
    np.testing.assert_allclose(values["float32"], values["float64"], rtol=1e-5)
    assert (values["float32"] != values["float64"]).any()
    np.testing.assert_array_equal(dg.load(run).log_prob(), values["float64"])


@pytest.mark.parametrize(
    "command",
    [["evaluate"], ["score", "x.npy"], ["sample", "-n", "2", "-o", "out.npz"], ["posterior", "-o", "out.nc"]],
    ids=lambda command: command[0],
)
def test_commands_take_device_and_precision(
    run: Path, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(5, 1, (3, 4)))
    line = [command[0], str(run), *command[1:]]
    done = CliRunner().invoke(app, [*line, "--device", "cpu", "--precision", "float32"])
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(BACKENDS[run.name], "kinds", lambda: ("cpu",))
    for wrong, said in ((["--device", "cuda"], "no device 'cuda'"), (["--precision", "half"], "'half' is none of")):
        refused = CliRunner().invoke(app, [*line, *wrong])
        assert isinstance(refused.exception, RunError)
        assert said in str(refused.exception)
