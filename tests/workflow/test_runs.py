"""Run folders: written whole, locked, resumable bit for bit, honest about what went wrong."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.errors import RunError
from dgmppl.runs import checkpoints, columns
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import RunFolder, write_whole
from dgmppl.runs.interrupts import watched
from tests.workflow.killing import CASES, require_equal

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPECS = Path(__file__).resolve().parents[2] / "specs"
BACKENDS = ("numpyro", "pyro")
VAE = {
    "overrides": [
        "networks.encoder=mlp([16])", "networks.decoder=mlp([16])", "train.batch_size=64", "evaluate.particles=4",
    ]
}  # fmt: skip


def small_vae(backend: str) -> dg.CompiledProgram:
    return dg.compile(SPECS / "vae.yaml", backend=backend, **VAE)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_resume_is_bit_for_bit(tmp_path: Path, backend: str) -> None:
    """A run cut at a checkpoint and resumed takes the same steps as one that was not."""
    program = small_vae(backend)
    whole = program.fit(steps=60, out=tmp_path / "whole")
    program.fit(steps=20, out=tmp_path / "cut")
    (tmp_path / "cut" / "receipt.json").unlink()
    resumed = program.fit(steps=60, out=tmp_path / "cut", resume=True)
    same(whole.parameters, resumed.parameters)
    losses = [{r["step"]: r["loss"] for r in RunFolder(tmp_path / name).read_metrics()} for name in ("whole", "cut")]
    assert losses[0][60] == losses[1][60]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_game_resumes_bit_for_bit(tmp_path: Path, backend: str) -> None:
    """Every player's optimizer, the averages and the state of spectral normalization go on, and nothing else does."""
    program = CASES["game"].program(backend)
    # Twice as many updates of the critic as of the model, which the steps count.
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    program.fit(steps=30, out=whole, checkpoint_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        _fit_until(program, 24, steps=30, out=cut)
    assert checkpoints.latest(cut / "checkpoints").step == 24
    program.fit(steps=30, out=cut, resume=True, checkpoint_seconds=0)
    kept = checkpoints.latest(whole / "checkpoints").state
    assert any("discriminator" in name and name.endswith("direction") for name in kept)
    require_equal(whole, cut)


def _fit_until(program: dg.CompiledProgram, step: int, **options: Any) -> None:
    """Fit, and break off as if the process had died once the checkpoint of a step is written."""
    write = checkpoints.save

    def save(folder: Path, checkpoint: Checkpoint) -> Path:
        path = write(folder, checkpoint)
        if checkpoint.step == step:
            raise KeyboardInterrupt
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", save)
        program.fit(**options, checkpoint_seconds=0)


SIGNALS = [("numpyro", signal.SIGTERM), ("pyro", signal.SIGINT)]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "number"), SIGNALS, ids=["numpyro-SIGTERM", "pyro-SIGINT"])
def test_a_stopped_run_goes_on(tmp_path: Path, backend: str, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C write a checkpoint and say how to go on; the resumed run ends where an uncut one does."""
    options = [value for override in VAE["overrides"] for value in ("--set", override)]
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "dgmppl", "fit", str(SPECS / "vae.yaml"), "-b", backend, "--out", str(folder), *options,
    ]  # fmt: skip
    process = subprocess.Popen(
        [*command, "--steps", "20000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "--resume" in said
    assert "Traceback" not in said
    stopped = checkpoints.latest(folder / "checkpoints").step
    assert 0 < stopped < 20000
    assert not (folder / ".lock").exists()
    total = stopped + 40
    small_vae(backend).fit(steps=total, out=folder, resume=True)
    whole = small_vae(backend).fit(steps=total)
    same(dict(dg.load(folder).parameters), whole.parameters)


def test_a_second_ctrl_c_stops_at_once() -> None:
    """The first one waits for the end of a block; whoever presses again does not want to wait."""
    # A process that a shell started in the background ignores the signal from the outset.
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)
    with watched() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, outside)


def test_kill_without_warning_leaves_a_readable_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "dgmppl",
        "fit",
        str(SPECS / "ppca.yaml"),
        "--out",
        str(folder),
        "--steps",
        "100000",
    ]
    process = subprocess.Popen([*command, "--quiet"])
    while not (folder / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert checkpoints.latest(folder / "checkpoints").step >= 0
    with pytest.raises(RunError, match="unfinished run"):
        dg.compile(SPECS / "ppca.yaml").fit(steps=5, out=folder)
    fitted = dg.compile(SPECS / "ppca.yaml").fit(steps=5, out=folder, resume=True)
    assert np.isfinite(fitted.log_prob()).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_loads_on_the_other_backend(tmp_path: Path, backend: str) -> None:
    fitted = dg.compile(SPECS / "ppca.yaml", backend=backend).fit(steps=20, out=tmp_path / "run")
    other = dg.load(tmp_path / "run", backend=next(name for name in BACKENDS if name != backend))
    same(fitted.parameters, other.parameters)
    # float32 sums over 64 dimensions.
    np.testing.assert_allclose(fitted.log_prob(), other.log_prob(), rtol=1e-5)


def test_data_are_read_once_for_the_schema_and_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    loading, read = importlib.import_module("dgmppl.data.load"), []
    assemble = loading.assemble
    monkeypatch.setattr(loading, "assemble", lambda *given: read.append(given) or assemble(*given))
    program = dg.compile(SPECS / "gmm.yaml", backend="pyro")
    program.fit(steps=1)
    program.fit(steps=1, seed=1)
    assert len(read) == 1


def test_loading_needs_no_data_and_no_program(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text((SPECS / "ppca.yaml").read_text())
    dg.compile(spec).fit(steps=5, out=tmp_path / "run")
    (tmp_path / "run" / "program.py").write_text("raise SystemExit('a stored program was run')\n")
    spec.unlink()
    with pytest.warns(UserWarning, match="was changed after the run"):
        loaded = dg.load(tmp_path / "run")
    assert loaded.sample(2).shape == (2, 8, 8)


def test_resolved_spec_compiles_to_the_same_program(tmp_path: Path) -> None:
    program = dg.compile(SPECS / "iwae.yaml", backend="pyro", overrides=[*VAE["overrides"], "train.steps=5"])
    program.fit(steps=5, out=tmp_path / "run")
    again = dg.compile(tmp_path / "run" / "resolved.yaml")
    assert again.objective.text() == program.objective.text()
    assert again.compiled.program.train == program.compiled.program.train
    assert (tmp_path / "run" / "spec.extends-1.yaml").read_text() == (SPECS / "vae.yaml").read_text()


def test_the_receipt_says_what_ran(tmp_path: Path) -> None:
    dg.compile(SPECS / "ppca.yaml").fit(steps=5, seed=7, out=tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "receipt.json").read_text())
    assert facts["seed"] == 7
    assert facts["steps"] == 5
    assert {"dgmppl", "numpy", "jax", "numpyro", "python"} <= set(facts["versions"])
    assert all(len(digest) == 64 for digest in facts["sha256"].values())
    assert facts["version"] == 1


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(RunError, match="written by another run"), folder.locked():
        pass
    with folder.locked():
        pass


def test_a_dead_owner_s_lock_is_taken_over(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    folder = RunFolder(tmp_path)
    import socket

    (tmp_path / ".lock").write_text(f"{socket.gethostname()} {done.pid}")
    with folder.locked():
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_resume_refuses_another_spec_and_another_backend(tmp_path: Path) -> None:
    dg.compile(SPECS / "ppca.yaml").fit(steps=5, out=tmp_path / "run")
    with pytest.raises(RunError, match="another spec"):
        dg.compile(SPECS / "gmm.yaml").fit(steps=5, out=tmp_path / "run", resume=True)
    with pytest.raises(RunError, match="same backend"):
        dg.compile(SPECS / "ppca.yaml", backend="pyro").fit(steps=5, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, backend: str) -> None:
    program = dg.compile(SPECS / "ppca.yaml", backend=backend, overrides=["train.optimizer=sgd(1e30)"])
    with pytest.raises(RunError, match=r"at step \d+"):
        program.fit(steps=50, out=tmp_path / "run")
    kept = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert all(np.isfinite(value).all() for value in kept.parameters.values())


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoints.save(tmp_path, Checkpoint(step, {"a": np.full(3, step)}, {"n": np.int32(step)}, {"backend": "x"}))
    newest = tmp_path / "step-00000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    found = checkpoints.latest(tmp_path)
    assert found.step == 1
    assert found.metadata == {"backend": "x"}
    (tmp_path / "step-00000001.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="damaged"):
        checkpoints.latest(tmp_path)


def test_checkpoints_keep_values_and_shapes(tmp_path: Path) -> None:
    arrays = {
        "t": np.arange(6.0).reshape(2, 3).T,
        "s": np.float32(2.5),
        "e": np.zeros((0, 2)),
        "i": np.array([1], np.uint32),
    }
    checkpoints.save(tmp_path, Checkpoint(3, arrays))
    same({name: np.asarray(value) for name, value in arrays.items()}, dict(checkpoints.latest(tmp_path).parameters))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["vae", "realnvp", "radon", "hmm", "eight_schools", "bnn"])
def test_columns_survive_json(name: str) -> None:
    schema = dg.compile(SPECS / f"{name}.yaml").compiled.schema
    stored = json.loads(json.dumps(columns.to_json(schema)))
    again = columns.from_json(stored)
    assert again == schema


def test_columns_that_are_damaged_are_an_error() -> None:
    with pytest.raises(RunError, match=r"columns\.json"):
        columns.from_json({"columns": [{"name": "x"}], "rows": 1, "split_rows": {}})


def test_a_newer_folder_version_is_refused(tmp_path: Path) -> None:
    dg.compile(SPECS / "ppca.yaml").fit(steps=5, out=tmp_path / "run")
    receipt = tmp_path / "run" / "receipt.json"
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "version": 99}))
    with pytest.raises(RunError, match="newer dgmppl"):
        dg.load(tmp_path / "run")


def test_a_moved_run_still_loads(tmp_path: Path) -> None:
    dg.compile(SPECS / "ppca.yaml").fit(steps=5, out=tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dg.load(tmp_path / "elsewhere").parameters
