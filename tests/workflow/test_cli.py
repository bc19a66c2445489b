"""The command line from spec to results: exit codes, JSON, no tracebacks, and what is imported."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dgmppl.cli import app, main

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPECS = Path(__file__).resolve().parents[2] / "specs"
BACKENDS = ("numpyro", "pyro")


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as a user runs it."""
    command = [sys.executable, "-m", "dgmppl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def asked(*arguments: object, code: int = 0) -> str:
    """What a command prints, without a process of its own: where its answer is tested, not its start."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return done.stdout


def test_check_accepts_and_refuses(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("dgmppl: 1\ndata:\n  x: {dataset: moon}\nmodel:\n  x: Normal(0, 1)\n")
    done = run("check", SPECS / "ppca.yaml", bad, code=2)
    assert "ppca.yaml: ok" in done.stdout
    assert "data-unknown-dataset" in done.stderr
    assert f"{bad}:3:" in done.stderr
    assert "did you mean `moons`?" in done.stderr


def test_check_json_is_stable(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    facts = json.loads(run("check", SPECS / "ppca.yaml", missing, "--json", code=2).stdout)
    assert [entry["ok"] for entry in facts] == [True, False]
    assert facts[1]["diagnostics"][0]["code"] == "file-missing"
    assert set(facts[1]["diagnostics"][0]) == {
        "code", "severity", "message", "span", "expected", "found", "fix", "notes",
    }  # fmt: skip


def test_check_and_explain_import_no_framework() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from dgmppl.cli import app\n"
        f"for command in (['check', {str(SPECS / 'vae.yaml')!r}], ['explain', {str(SPECS / 'vae.yaml')!r}]):\n"
        "    assert CliRunner().invoke(app, command).exit_code == 0\n"
        "heavy = {'torch', 'jax', 'pyro', 'numpyro', 'pandas', 'sklearn', 'scipy', 'xarray', 'arviz', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_check_loads_nothing_that_it_does_not_use() -> None:
    """A process that checks spends nearly all of its time on imports."""
    program = (
        "import sys; from typer.testing import CliRunner; from dgmppl.cli import app\n"
        f"assert CliRunner().invoke(app, ['check', {str(SPECS / 'ss_vae.yaml')!r}]).exit_code == 0\n"
        "later = {'dgmppl.api', 'dgmppl.lowering', 'dgmppl.results', 'dgmppl.runs', 'numpy.ma', 'rich'}\n"
        "assert not later & set(sys.modules), later & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_samples_of_a_table_are_scored(tmp_path: Path) -> None:
    """What `sample` writes, `score` reads, whatever the shape of a datum; and only a condition can be given."""
    folder, table = tmp_path / "run", tmp_path / "s.csv"
    asked("fit", SPECS / "gmm.yaml", "--backend", "pyro", "--steps", 1, "--out", folder, "--quiet")
    asked("sample", folder, "-n", 5, "-o", table)
    assert table.read_text().startswith("x.0,x.1,")
    assert json.loads(asked("score", folder, table, "--json"))["rows"] == 5
    assert "'k' cannot be given" in run("sample", folder, "-o", table, "--given", "k=1", code=2).stderr


def test_a_spec_comes_from_standard_input() -> None:
    """Alone or beside others; what is wrong with it has a place all the same."""
    text = (SPECS / "gmm.yaml").read_text()
    done = CliRunner().invoke(app, ["check", "-", str(SPECS / "ppca.yaml")], input=text)
    assert (done.exit_code, done.stdout) == (0, f"-: ok\n{SPECS / 'ppca.yaml'}: ok\n")
    assert "def model" in CliRunner().invoke(app, ["compile", "-"], input=text).stdout
    facts = json.loads(CliRunner().invoke(app, ["check", "-", "--json"], input="dgmppl: 1").stdout)
    assert [(one["spec"], one["diagnostics"][0]["code"]) for one in facts] == [("-", "empty-model")]


@pytest.mark.parametrize(
    ("asked", "fix"),
    [("modle", "modl.yaml"), ("gmm", "dgmppl new gmm"), ("none/vae.yaml", "dgmppl new vae"), ("x", None)],
)
def test_a_missing_spec_is_met_with_what_there_is(
    asked: str, fix: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "modl.yaml").touch()
    (problem,) = json.loads(CliRunner().invoke(app, ["check", asked, "--json"]).stdout)[0]["diagnostics"]
    assert problem["code"] == "file-missing"
    assert problem["fix"] is None if fix is None else fix in problem["fix"]


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "gmm.yaml", "--out", "r", "--device", "gpu"],
        ["fit", "gmm.yaml", "--out", "r", "--precision", "half"],
        ["fit", "gmm.yaml", "--out", "r", "--steps", "0"],
        ["fit", "gmm.yaml", "--out", "r", "--backend", "tensorflow"],
        ["sample", "r", "-o", "s.npz"],
    ],
)
def test_an_argument_that_cannot_be_is_wrong_input(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dgmppl", *words])
    (tmp_path / "gmm.yaml").write_text((SPECS / "gmm.yaml").read_text())
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "chosen", "left"),
    [
        (["check", str(SPECS / "vae.yaml")], None, "1"),
        (["check", str(SPECS / "vae.yaml")], "2", "2"),
        (["evaluate", "no-such-run"], None, None),
    ],
)  # fmt: skip
def test_a_command_that_only_reads_starts_no_threads(words: list[str], chosen: str | None, left: str | None) -> None:
    """NumPy starts them when it is imported: the command must have been asked first."""
    program = (
        "import os, sys; from typer.testing import CliRunner; from dgmppl.cli import app\n"
        "assert 'numpy' not in sys.modules\n"
        f"CliRunner().invoke(app, {words!r})\n"
        "import numpy; from threadpoolctl import threadpool_info\n"
        f"assert os.environ.get('OPENBLAS_NUM_THREADS') == {left!r}\n"
        "pools = [pool['num_threads'] for pool in threadpool_info() if pool['internal_api'] == 'openblas']\n"
        f"assert {left!r} != '1' or set(pools) <= {{1}}, pools\n"
    )
    known = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    given = known if chosen is None else {**known, "OPENBLAS_NUM_THREADS": chosen}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=given)


def test_commands_are_built_when_they_are_asked_for() -> None:
    """And all of them are there: in the order of their registration, and in the help."""
    program = (
        "from typer.testing import CliRunner; from dgmppl.cli.app import _COMMANDS, app; import dgmppl.cli\n"
        f"assert CliRunner().invoke(app, ['check', {str(SPECS / 'vae.yaml')!r}]).exit_code == 0\n"
        "assert list(_COMMANDS._built) == ['check']\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert list(_COMMANDS._built) == ['check', *(name for name in _COMMANDS if name != 'check')]\n"
        "assert len(_COMMANDS) == 15\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_explain_json_has_the_promised_keys() -> None:
    facts = json.loads(run("explain", SPECS / "vae.yaml", "--json").stdout)
    promised = {
        "name", "backend_support", "factorization", "status", "divergence", "objective", "rules", "capabilities",
        "parameters", "references",
    }  # fmt: skip
    assert promised <= set(facts)
    assert facts["status"] == "bound"
    assert facts["objective"]["status"] == "lower_bound"
    player = facts["objective"]["players"][0]
    assert {"name", "owns", "every", "terms"} <= set(player)
    assert facts["backend_support"] == {"numpyro": True, "pyro": True}
    assert {"log_prob", "sample", "posterior"} <= set(facts["capabilities"])


def test_explain_prints_latex() -> None:
    assert "\\mathbb{E}" in run("explain", SPECS / "vae.yaml", "--latex").stdout


@pytest.mark.parametrize("ending", ["svg", "png", "dot", "mmd"])
def test_graph_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"g.{ending}"
    assert CliRunner().invoke(app, ["graph", str(SPECS / "vae.yaml"), "-o", str(path)]).exit_code == 0
    content = path.read_bytes()
    assert content.startswith({"svg": b"<?xml", "png": b"\x89PNG", "dot": b"digraph", "mmd": b"flowchart"}[ending])
    if ending in {"dot", "mmd"}:
        assert b"decoder" in content
        assert b"encoder" in content


def test_graph_refuses_an_unknown_ending(tmp_path: Path) -> None:
    assert "g.gif" in run("graph", SPECS / "vae.yaml", "-o", tmp_path / "g.gif", code=2).stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_compile_writes_a_program(tmp_path: Path, backend: str) -> None:
    out = tmp_path / "program.py"
    run("compile", SPECS / "vae.yaml", "--backend", backend, "-o", out)
    source = out.read_text()
    compile(source, str(out), "exec")
    assert re.search(r"^(def model\(|class Model\b)", source, re.MULTILINE)
    assert re.search(r"^(def guide\(|class Guide\b)", source, re.MULTILINE)


def test_list_and_schema() -> None:
    assert "mlp" in run("list", "networks").stdout
    assert "Normal" in json.loads(run("list", "distributions", "--json").stdout)
    assert json.loads(run("schema").stdout)["type"] == "object"
    run("list", "nonsense", code=2)


def test_wrong_usage_is_exit_code_two(tmp_path: Path) -> None:
    run("fit", SPECS / "vae.yaml", code=2)
    run("fit", SPECS / "vae.yaml", "--out", tmp_path / "r", "--data", "x", code=2)
    run("fit", SPECS / "vae.yaml", "--out", tmp_path / "r", "--set", "train.step=5", code=2)


def test_a_missing_run_and_a_missing_backend_are_exit_code_one(tmp_path: Path) -> None:
    assert "no finished run" in run("evaluate", tmp_path, code=2).stderr
    assert "no backend 'tensorflow'" in run("compile", SPECS / "vae.yaml", "-b", "tensorflow", code=2).stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_from_spec_to_scores(tmp_path: Path, backend: str) -> None:
    folder = tmp_path / "run"
    done = run("fit", SPECS / "vae.yaml", "-b", backend, "--out", folder, "--steps", 30, "--threads", 1)
    said = done.stdout
    assert "has no effect" not in done.stdout + done.stderr
    assert "test elbo:" in said
    assert "bits per dimension" in said
    assert {path.name for path in folder.iterdir()} >= {
        "spec.yaml", "resolved.yaml", "program.py", "checkpoints", "metrics.jsonl", "receipt.json", "samples.png",
        "posterior.nc", "columns.json",
    }  # fmt: skip
    metrics = json.loads(asked("evaluate", folder, "--json"))
    assert metrics["split"] == "test"
    assert metrics["metrics"][0]["unit"] == "nats per datum"

    images = np.zeros((3, 8, 8), dtype=np.int64)
    np.save(tmp_path / "x.npy", images)
    scored = json.loads(asked("score", folder, f"x={tmp_path / 'x.npy'}", "--json"))
    assert scored["status"] == "bound"
    assert len(scored["values"]) == 3

    asked("sample", folder, "-n", 5, "-o", tmp_path / "s.npz")
    assert np.load(tmp_path / "s.npz")["x"].shape == (5, 64)
    asked("sample", folder, "-n", 5, "-o", tmp_path / "s.csv")
    rows = list(csv.reader((tmp_path / "s.csv").open()))
    assert len(rows) == 6
    assert len(rows[0]) == 64
    run("sample", folder, "-n", 5, "-o", tmp_path / "s.gif", code=2)
    asked("posterior", folder, "-o", tmp_path / "p.nc", "--draws", 3)
    assert (tmp_path / "p.nc").stat().st_size > 0


@pytest.mark.slow
def test_fit_json_and_quiet(tmp_path: Path) -> None:
    facts = json.loads(asked("fit", SPECS / "ppca.yaml", "--out", tmp_path / "a", "--steps", 5, "--json"))
    assert facts["steps"] == 5
    assert facts["backend"] == "numpyro"
    assert run("fit", SPECS / "ppca.yaml", "--out", tmp_path / "b", "--steps", 5, "--quiet").stdout == ""


def test_data_are_bound_on_the_command_line(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "dgmppl: 1\ndata:\n  x: {shape: [], support: real}\nparameters:\n  m: learned(normal())\n"
        "model:\n  x: Normal(m, 1)\n"
    )
    assert "--data x=FILE" in run("fit", spec, "--out", tmp_path / "a", code=2).stderr
    np.save(tmp_path / "x.npy", np.full(10, 3.0))
    run("fit", spec, "--out", tmp_path / "a", "--steps", 5, "--data", f"x={tmp_path / 'x.npy'}")
