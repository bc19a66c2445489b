"""Finished runs inside other models as files: found, checked, noticed when they change, carried along."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.compiler import Compilation, check, compile_spec
from dgmppl.errors import RunError, SpecError, UnsupportedError
from dgmppl.ir.program import Role
from tests.finished import FLOW, PIXELS, ROWS, VAE, Spec, arrays, finish

pytestmark = pytest.mark.usefixtures("quick_compilation")

STAGE_TWO = f"""\
dgmppl: 1
name: stage-two
data:
  x: {{shape: [{PIXELS}], support: binary}}
networks:
  denoiser: mlp([8], time=embedding(4))
model:
  z: Diffusion(denoiser, schedule=cosine(), steps=10, predict=noise)
  x: Trained("vae", given=z)
train: {{steps: 4, batch_size: 3, ema: 0.5}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished variational autoencoder and a spec that reads it; the current folder is another one."""
    finish(VAE, tmp_path / "vae", monkeypatch)
    (tmp_path / "two.yaml").write_text(STAGE_TWO, encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def compiled(folder: Path, text: str = STAGE_TWO, **data: Any) -> Compilation:
    """A spec beside the run."""
    (folder / "two.yaml").write_text(text, encoding="utf-8")
    return compile_spec(folder / "two.yaml", bindings=data or {"x": arrays()["x"]})


def refused(folder: Path, code: str, text: str = STAGE_TWO, **data: Any) -> str:
    """The only diagnostic of a spec, which has this code, rendered."""
    with pytest.raises(SpecError) as caught:
        compiled(folder, text, **data)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    return diagnostic.render()


def test_a_fit_keeps_what_is_frozen_and_says_where_it_came_from(folder: Path) -> None:
    x = arrays()["x"]
    program = dg.compile(folder / "two.yaml", bindings={"x": x})
    fit = program.fit(out=folder / "two", checkpoint_seconds=0.0)
    run = dg.load(folder / "vae")
    for name, value in run.parameters.items():
        if name.startswith(("encoder", "decoder")):
            np.testing.assert_array_equal(fit.parameters[f"x.{name}"], value.astype(np.float32))
    started = program.initial().parameters
    assert all(np.any(fit.parameters[name] != started[name]) for name in started if name.startswith("denoiser"))
    receipt = json.loads((folder / "two" / "receipt.json").read_text())
    assert receipt["trained"] == {"model x": program.compiled.program.runs[0].sha256}
    assert "Trained('../vae', given=z)" in (folder / "two" / "resolved.yaml").read_text()


def test_a_run_that_reads_a_run_answers_after_the_tree_has_moved(folder: Path) -> None:
    x = arrays()["x"]
    fit = dg.compile(folder / "two.yaml", bindings={"x": x}).fit(out=folder / "two")
    moved = folder.parent / f"{folder.name}-moved"
    (folder / "elsewhere").rename(folder.parent / f"{folder.name}-elsewhere")
    folder.rename(moved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = dg.load(moved / "two", backend="pyro")
    assert loaded.sample(3).shape == (3, PIXELS)
    ours, theirs = (np.array([one.elbo(x, 50, seed).mean() for seed in range(6)]) for one in (fit, loaded))
    error = np.hypot(ours.std(ddof=1), theirs.std(ddof=1)) / np.sqrt(6)
    assert abs(ours.mean() - theirs.mean()) < 5 * error


def test_a_changed_run_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = dg.compile(folder / "two.yaml", bindings={"x": arrays()["x"]})
    fit = program.fit(out=folder / "two")
    shutil.rmtree(folder / "vae")
    finish(VAE, folder / "vae", monkeypatch, seed=7)
    with pytest.warns(UserWarning, match="vae was changed after"):
        loaded = dg.load(folder / "two")
    np.testing.assert_array_equal(
        loaded.parameters["x.decoder.layers.0.bias"], fit.parameters["x.decoder.layers.0.bias"]
    )
    (folder / "two" / "receipt.json").unlink()
    with pytest.raises(RunError, match="finished run in this model has changed"):
        dg.compile(folder / "two.yaml", bindings={"x": arrays()["x"]}).fit(out=folder / "two", resume=True)


def test_a_stored_program_is_never_run(folder: Path) -> None:
    (folder / "vae" / "program.py").write_text("raise SystemExit('executed')\n")
    assert compiled(folder).module.players == (("model", ("denoiser",), 1),)


def test_a_fit_does_not_replace_the_run_that_it_reads(folder: Path) -> None:
    program = dg.compile(folder / "two.yaml", bindings={"x": arrays()["x"]})
    with pytest.raises(RunError, match="holds a run that this model reads"):
        program.fit(out=folder / "vae")
    assert dg.load(folder / "vae").program.name == "vae"


def test_without_the_run_a_model_is_explained_and_not_lowered(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    text = STAGE_TWO.replace("predict=noise)", "predict=noise, shape=5)")
    here = compiled(folder, text)
    assert check(folder / "two.yaml", bindings={"x": arrays()["x"]}) == []
    assert any("nothing of it was checked" in note for note in here.derivation.notes)
    with pytest.raises(UnsupportedError) as caught:
        here.module  # noqa: B018
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "missing-run"
    assert "two.yaml:9:6: error[missing-run]" in diagnostic.render()
    assert "two.yaml:8:3" in refused(folder, "undetermined-width")


def test_the_current_folder_is_looked_in_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "vae").rename(folder / "elsewhere" / "vae")
    assert compiled(folder).program.runs[0].folder == str(folder / "elsewhere" / "vae")
    finish(VAE, folder / "vae", monkeypatch, seed=3)
    assert compiled(folder).program.runs[0].folder == str(folder / "vae")


# ---- runs that cannot be used ---------------------------------------------------------------------------------------


def unfinished(run: Path) -> None:
    (run / "receipt.json").unlink()


def cut_off(run: Path) -> None:
    (path,) = (run / "checkpoints").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-8])


def of_a_newer_version(run: Path) -> None:
    receipt = json.loads((run / "receipt.json").read_text())
    (run / "receipt.json").write_text(json.dumps({**receipt, "version": 99}))


def without_columns(run: Path) -> None:
    (run / "columns.json").write_text("[]")


def with_another_network(run: Path) -> None:
    path = run / "resolved.yaml"
    path.write_text(path.read_text().replace("decoder: mlp([7])", "decoder: mlp([6])"))


def of_itself(run: Path) -> None:
    path = run / "resolved.yaml"
    path.write_text(path.read_text().replace("Bernoulli(logits=decoder(z))", "'Trained(\"../vae\", given=z)'"))


def refused_itself(run: Path) -> None:
    path = run / "resolved.yaml"
    path.write_text(path.read_text().replace("decoder(z)", "nothing(z)"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unfinished, "unfinished"),
        (cut_off, "damaged"),
        (of_a_newer_version, "version 99"),
        (without_columns, "damaged"),
        (with_another_network, "another shape than its spec says"),
        (of_itself, "it reads itself: vae -> vae"),
        (refused_itself, "its spec is refused"),
    ],
)
def test_a_run_that_cannot_be_used_is_refused_with_its_line(folder: Path, damage: Any, message: str) -> None:
    damage(folder / "vae")
    text = refused(folder, "unusable-run")
    assert "two.yaml:9:6: error[unusable-run]" in text
    assert message in text
    assert "Traceback" not in text


def test_a_posterior_is_no_value(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec: Spec = {
        "dgmppl": 1,
        "name": "bayes",
        "data": {"w": {"shape": [5], "support": "real"}},
        "parameters": {"mu": "Normal(0, 1)"},
        "model": {"w": "Normal(mu, 1)"},
        "infer": "map",
    }
    finish(spec, folder / "vae", monkeypatch)
    text = 'dgmppl: 1\ndata:\n  w: {shape: [5], support: real}\nmodel:\n  w: Trained("vae")\n'
    assert "the run 'vae' has a posterior over 'mu'" in refused(folder, "unusable-run", text, w=arrays()["w"])


def test_a_parameter_is_no_datum(folder: Path) -> None:
    text = STAGE_TWO.replace("model:", 'parameters:\n  c: Trained("vae")\nmodel:')
    assert "'c' is shared by all data" in refused(folder, "unusable-run", text)


# ---- runs that do not fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("given=z", "given=[z, u]", "'x' of the run 'vae' is not conditioned on 'u'"),
        ("predict=noise)", "predict=noise, shape=4)", "another shape than its `shape=`"),
        ("Diffusion(denoiser, schedule=cosine(), steps=10, predict=noise)", "Normal(0, 1, shape=4)", "another shape"),
        ('Trained("vae", given=z)', 'Trained("flow", given=z)', "was trained with another 'w'"),
    ],
)
def test_what_the_run_was_not_trained_with_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    finish(FLOW, folder / "flow", monkeypatch)
    text = STAGE_TWO.replace("data:", "data:\n  u: {shape: [2], support: real}").replace(old, new)
    with pytest.raises(SpecError) as caught:
        compiled(folder, text, x=arrays()["x"], u=np.zeros((ROWS, 2)))
    assert message in caught.value.diagnostics[0].render()
    assert "two.yaml:" in caught.value.diagnostics[0].render()


def test_data_of_another_shape(folder: Path) -> None:
    text = STAGE_TWO.replace(f"[{PIXELS}]", "[4]")
    found = refused(folder, "run-mismatch", text, x=np.zeros((ROWS, 4), dtype=int))
    assert "the run 'vae' was trained with another 'x'" in found
    assert "expected: [9]" in found


def test_data_in_other_units(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {**FLOW, "data": {"w": {"shape": [5], "support": "real", "transform": ["standardize(per=feature)"]}}}
    finish(spec, folder / "flow", monkeypatch)
    text = 'dgmppl: 1\ndata:\n  w: {shape: [5], support: real%s}\nmodel:\n  w: Trained("flow")\n'
    same = text % ", transform: [standardize(per=feature)]"
    assert compiled(folder, same, w=arrays()["w"]).derivation.status == "exact"
    assert "in other units" in refused(folder, "run-mismatch", text % "", w=arrays()["w"])
    assert "in other units" in refused(folder, "run-mismatch", same, w=arrays(1)["w"])


def test_a_guide_may_be_a_finished_run(folder: Path) -> None:
    text = STAGE_TWO.replace("train:", 'guide:\n  z: Trained("vae", given=x)\ntrain:').replace(
        'x: Trained("vae", given=z)', "x: Bernoulli(logits=decoder(z))"
    )
    text = text.replace("networks:", "networks:\n  decoder: mlp([3])")
    program = compiled(folder, text).program
    assert set(program.networks) == {"decoder", "denoiser", "guide.z.encoder"}
    assert program.frozen_groups == {"guide.z.encoder"}
    assert program.guide_by_name["z"].role is Role.GUIDE


def test_a_declared_guide_takes_the_place_of_the_run_s(folder: Path) -> None:
    text = STAGE_TWO.replace("train:", "guide:\n  z: Normal(**mine(x))\ntrain:").replace(
        "networks:", "networks:\n  mine: mlp([3])"
    )
    program = compiled(folder, text).program
    assert set(program.networks) == {"mine", "denoiser", "x.decoder"}
    assert [site.name for site in program.guide] == ["z"]
