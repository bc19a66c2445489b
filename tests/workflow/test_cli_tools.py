"""new, convert, migrate, doctor, completion, and what all commands have in common."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import dgmppl as dg
from dgmppl import migration, scaffold
from dgmppl.api.conversion import convert
from dgmppl.cli import app, completion
from dgmppl.compiler import check
from dgmppl.doctor import BackendHealth, Health, examine
from dgmppl.errors import RunError, SpecError
from dgmppl.source import Diagnostic
from dgmppl.spec.reader import read
from dgmppl.zoo_folder import folder

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
OTHER = {"pyro": "numpyro", "numpyro": "pyro"}


def options(name: str) -> set[str]:
    return {text for parameter in COMMANDS[name].params for text in parameter.opts}


# ---- what commands have in common -----------------------------------------------------------------------------------


def test_every_command_is_quiet_on_request() -> None:
    assert [name for name in COMMANDS if "--quiet" not in options(name)] == []


def test_commands_that_print_facts_print_json() -> None:
    silent = {"graph", "compile", "schema", "sample", "posterior"}
    assert {name for name in COMMANDS if "--json" not in options(name)} == silent


def test_commands_that_load_or_compile_can_be_trusted() -> None:
    without = {"new", "list", "schema", "migrate", "doctor"}
    assert {name for name in COMMANDS if "--trust-code" not in options(name)} == without


def test_quiet_prints_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = str(folder() / "gmm.yaml")
    for words in (["new", "gmm"], ["check", spec], ["explain", spec], ["migrate", spec], ["list", "networks"]):
        done = CliRunner().invoke(app, [*words, "--quiet"])
        assert (done.exit_code, done.output) == (0, "")


# ---- new ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", scaffold.names())
def test_new_writes_a_spec_that_compiles_where_it_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = scaffold.write(name)
    assert written.spec == Path(f"{name}.yaml")
    text = written.spec.read_text(encoding="utf-8")
    assert f"dgmppl fit {name}.yaml" in text
    assert "# the generative story of one datum, in order\nmodel:" in text or "\nmodel:" not in text
    old, new = read(folder() / f"{name}.yaml"), read(written.spec)
    assert (old.model, old.networks, old.train, old.infer) == (new.model, new.networks, new.train, new.infer)
    for one in new.data:
        assert one.kind != "file" or (tmp_path / str(one.source)).is_file()
    assert check(written.spec) == check(folder() / f"{name}.yaml")


def test_new_never_overwrites(tmp_path: Path) -> None:
    spec = tmp_path / "sub" / "mine.yaml"
    assert scaffold.write("radon", spec).kept == ()
    spec.write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="--force"):
        scaffold.write("radon", spec)
    assert spec.read_text(encoding="utf-8") == "mine"
    (spec.parent / "radon.csv").write_text("mine", encoding="utf-8")
    kept = scaffold.write("radon", spec.parent / "other.yaml").kept
    assert set(kept) == {str(spec.parent / "radon.csv"), str(spec.parent / "counties.csv")}
    assert (spec.parent / "radon.csv").read_text(encoding="utf-8") == "mine"
    assert scaffold.write("radon", spec, force=True).kept == ()
    assert (spec.parent / "radon.csv").read_bytes() == (folder() / "radon.csv").read_bytes()


def test_new_lists_the_zoo_for_an_unknown_name() -> None:
    with pytest.raises(SpecError) as caught:
        scaffold.write("eigth_schools")
    (problem,) = caught.value.diagnostics
    assert isinstance(problem, Diagnostic)
    assert problem.fix == "dgmppl new eight_schools"
    assert set(str(problem.expected).split(", ")) == set(scaffold.names())


# ---- convert --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHER)
def test_a_converted_run_is_the_same_model(backend: str, tmp_path: Path) -> None:
    first = dg.compile(folder() / "gmm.yaml", backend=backend).fit(seed=0, steps=5, out=tmp_path / "a")
    target = convert(tmp_path / "a", OTHER[backend])
    assert target.path == tmp_path / f"a-{OTHER[backend]}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = dg.load(target.path)
    assert second.program.backend == OTHER[backend]
    assert list(first.parameters) == list(second.parameters)
    for name, value in first.parameters.items():
        np.testing.assert_array_equal(value, second.parameters[name])
    np.testing.assert_allclose(first.log_prob(), second.log_prob(), rtol=1e-5)
    assert second.records == first.records

    old = json.loads((tmp_path / "a" / "receipt.json").read_text(encoding="utf-8"))
    new = target.read_json(target.receipt)
    assert new["converted"]["path"] == str(tmp_path / "a")
    assert new["converted"]["backend"] == backend
    assert new["converted"]["program"] == old["sha256"]["program"] != new["sha256"]["program"]
    assert {key for key in old if old[key] != new[key]} == {"backend", "versions", "sha256"}
    assert target.program.read_text(encoding="utf-8") == second.program.source

    with pytest.raises(RunError, match="exists"):
        convert(tmp_path / "a", OTHER[backend])
    with pytest.raises(RunError, match="already"):
        convert(tmp_path / "a", backend, tmp_path / "b")
    with pytest.raises(RunError, match="no backend"):
        convert(tmp_path / "a", "tensorflow", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_convert_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished run"):
        convert(tmp_path, "pyro")


# ---- migrate --------------------------------------------------------------------------------------------------------


def test_migrate_leaves_what_is_up_to_date(tmp_path: Path) -> None:
    spec = tmp_path / "a.yaml"
    spec.write_bytes((folder() / "vae.yaml").read_bytes())
    before = spec.stat().st_mtime_ns
    done = CliRunner().invoke(app, ["migrate", str(spec), "--json"])
    assert json.loads(done.stdout) == [{"spec": str(spec), "found": 1, "version": 1, "changed": False}]
    assert spec.stat().st_mtime_ns == before
    assert migration.MIGRATIONS == {}


def test_migrate_rewrites_an_older_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "a.yaml"
    spec.write_text("dgmppl: 0\n# kept\nmodels:\n  x: Normal(0, 1)\n", encoding="utf-8")

    def first(text: str) -> str:
        return text.replace("dgmppl: 0", "dgmppl: 1").replace("models:", "model:")

    monkeypatch.setitem(migration.MIGRATIONS, 0, first)
    done = migration.migrate(spec)
    assert (done.found, done.version, done.changed) == (0, 1, True)
    assert spec.read_text(encoding="utf-8") == "dgmppl: 1\n# kept\nmodel:\n  x: Normal(0, 1)\n"
    assert not migration.migrate(spec).changed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("dgmppl: 7\n", "version-unknown"),
        ("dgmppl: 0\n", "version-unknown"),
        ("dgmppl: true\n", "version-unknown"),
        ("dgmppl: one\n", "version-unknown"),
        ("name: a\n", "version-missing"),
        ("", "version-missing"),
        ("- a\n", "wrong-type"),
        ("a: [\n", "yaml-syntax"),
    ],
)
def test_migrate_refuses_what_has_no_known_version(text: str, code: str, tmp_path: Path) -> None:
    spec = tmp_path / "a.yaml"
    spec.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        migration.migrate(spec)
    assert caught.value.diagnostics[0].code == code
    assert spec.read_text(encoding="utf-8") == text


# ---- doctor ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_doctor_knows_this_installation() -> None:
    health = examine()
    assert health.usable
    assert {"pyro", "numpyro"} <= set(health.backends)
    for name, backend in health.backends.items():
        assert backend.usable, backend.why
        assert "cpu" in backend.devices
        assert name in str(backend.versions)
    assert json.loads(json.dumps(health.to_dict()))["libraries"]["numpy"] == np.__version__


def test_doctor_says_what_is_missing() -> None:
    health = Health(
        {"dgmppl": "1", "python": "3", "system": "Linux", "cores": 2},
        {"OMP_NUM_THREADS": None},
        {"pyro": BackendHealth(False, "the pyro backend needs torch: pip install 'dgmppl[pyro]'")},
        {"numpy": "2"},
        {"polars": (None, "data frames")},
    )
    assert not health.usable
    text = health.text()
    for said in ("pyro: not usable", "pip install 'dgmppl[pyro]'", "pip install polars", "No backend is usable"):
        assert said in text
    assert health.to_dict()["usable"] is False


# ---- completion -----------------------------------------------------------------------------------------------------


def test_completion_offers_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("specs/vae.yaml", "specs/note.txt", "runs/a/receipt.json", "runs/b/spec.yaml", ".hidden/c.yaml"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert completion.specs("") == ["runs/b/spec.yaml", "specs/vae.yaml"]
    assert completion.specs("specs/v") == ["specs/vae.yaml"]
    assert completion.runs("ru") == ["runs/a"]
    assert completion.runs("nowhere/") == []
    assert completion.backends("num") == ["numpyro"]
    assert "ss_vae" in dict(completion.zoo("ss"))
    assert [name for name, _ in completion.tables("dist")] == ["distributions"]
    assert completion.precisions("b") == ["bfloat16"]
    assert completion.devices("c") == ["cpu", "cuda"]
    assert completion.stages("s") == ["spec", "source"]


@pytest.mark.parametrize(("typed", "offered"), [("new ss", "ss_vae"), ("list dis", "distributions"), ("co", "compile")])
def test_the_shell_is_told(typed: str, offered: str) -> None:
    asked = {
        "_DGMPPL_COMPLETE": "complete_bash",
        "COMP_WORDS": f"dgmppl {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    done = CliRunner().invoke(app, [], env=asked, prog_name="dgmppl")
    assert offered in done.stdout.split()
