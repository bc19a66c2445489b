# ruff: noqa: PT017 -- a fuzzed text may be read or refused; both are right
"""Whole specs: sections, `extends`, data forms, names, settings, overrides, the normal form and the JSON Schema."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmppl.errors import CODES, SpecError
from dgmppl.ir.expressions import Call, Literal, Name
from dgmppl.ir.expressions import text as show
from dgmppl.source import Diagnostic
from dgmppl.spec.overrides import apply_override
from dgmppl.spec.reader import read
from dgmppl.spec.schema import json_schema, schema_text
from dgmppl.spec.sections import SECTIONS
from dgmppl.spec.syntax import DataDeclaration, Option, Spec
from dgmppl.spec.writer import to_yaml
from dgmppl.spec.yaml_reader import List, Node, Scalar, Table, compose, decode

SPECS = Path(__file__).parents[2] / "specs"
ZOO = sorted(SPECS.glob("*.yaml"))
HEAD = "dgmppl: 1\nname: t\n"


def codes(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return [problem.code for problem in caught.value.diagnostics]


def data(text: str) -> tuple[DataDeclaration, ...]:
    return read(f"{HEAD}data:\n{text}").data


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(f"dgmppl: 1\n{text}", encoding="utf-8")


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_zoo_is_read_and_survives_its_normal_form(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS)
    spec = read(path.name)
    assert spec.name == path.stem.replace("_", "-")
    assert read(to_yaml(spec)) == spec


def test_every_part_of_the_zoo_knows_its_place() -> None:
    spec = read(SPECS / "eight_schools.yaml")
    theta = spec.parameters[2]
    assert show(theta.value) == "Normal(mu, tau)"
    assert theta.key.span is not None
    assert theta.value.span is not None
    assert str(theta.key.span) == f"{SPECS / 'eight_schools.yaml'}:11:3"
    assert theta.value.span.column == 18


def test_paths_texts_mappings_give_the_same() -> None:
    text = f"{HEAD}data:\n  x: moons\nmodel:\n  x: Normal(0, 1)\ntrain: {{steps: 5}}\n"
    mapping = {
        "dgmppl": 1,
        "name": "t",
        "data": {"x": "moons"},
        "model": {"x": "Normal(0, 1)"},
        "train": {"steps": 5},
    }
    assert read(text) == read(mapping)
    assert read("dgmppl: 1") == replace(read({"dgmppl": 1}))


def test_a_missing_file_is_a_diagnostic() -> None:
    with pytest.raises(SpecError) as caught:
        read("nowhere.yaml")
    assert caught.value.diagnostics[0].code == "file-missing"
    with pytest.raises(SpecError):
        read(SPECS)
    with pytest.raises(SpecError):
        read("no\0where.yaml")


def test_name_defaults_to_the_file(tmp_path: Path) -> None:
    write(tmp_path, plain="")
    assert read(tmp_path / "plain.yaml").name == "plain"


@pytest.mark.parametrize(
    ("text", "kind", "source", "options"),
    [
        ("digits.images", "dataset", "digits.images", {}),
        ("moons", "dataset", "moons", {}),
        ("{dataset: moons, size: 10, seed: 1}", "dataset", "moons", {"size": 10, "seed": 1}),
        ("{file: t.csv, column: income}", "file", "t.csv", {"column": "income"}),
        ("{file: t.csv, columns: x*}", "file", "t.csv", {"columns": ["x*"]}),
        ("{file: t.csv, columns: {except: [y]}}", "file", "t.csv", {"columns": {"except": ["y"]}}),
        ("[1, 2.5, null, .nan]", "inline", [1, 2.5, None, None], {}),
        ("[[1, 2], [3, 4]]", "inline", [[1, 2], [3, 4]], {}),
        ("[A, no, '1']", "inline", ["A", "no", "1"], {}),
        ("{values: [1, 2], whole: true}", "inline", [1, 2], {"whole": True}),
        ("{shape: [28, 28], support: binary}", "shape", [28, 28], {"support": Name("binary")}),
        ("{shape: [], whole: true}", "shape", [], {"whole": True}),
        ("{shape: 3}", "shape", [3], {}),
        ("{dataset: moons, keep: 0.1, missing: error}", "dataset", "moons", {"keep": 0.1, "missing": "error"}),
        ("{dataset: moons, split: {test: 0.1, seed: 0}}", "dataset", "moons", {"split": {"test": 0.1, "seed": 0}}),
        ("{dataset: moons, test: {file: t.csv}}", "dataset", "moons", {"test": {"file": "t.csv"}}),
        ("sum(w)", "expression", Call("sum", (Name("w"),)), {}),
        ("w", "expression", Name("w"), {}),
        ("{expression: sum(w), support: count}", "expression", Call("sum", (Name("w"),)), {"support": Name("count")}),
    ],
)
def test_forms_of_data(text: str, kind: str, source: Option, options: dict[str, Option]) -> None:
    _, entry = data(f"  w: moons\n  x: {text}\n")
    assert (entry.name, entry.kind, entry.source, dict(entry.options)) == ("x", kind, source, options)


def test_transforms_are_a_tuple_of_calls() -> None:
    one, several = data(
        "  x: {dataset: moons, transform: unit()}\n  y: {dataset: moons, transform: [unit(), logit(1e-6)]}\n"
    )
    assert one.transform == (Call("unit"),)
    assert several.transform == (Call("unit"), Call("logit", (Literal(1e-6),)))


def test_a_later_variable_is_no_earlier_source() -> None:
    first, _ = data("  x: moons\n  moons: rings\n")
    assert first.kind == "dataset"


def test_extends_merges_as_the_language_says(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="data: {x: moons, y: rings}\nnetworks: {f: mlp([8]), g: mlp([8])}\nmodel: {z: 'Normal(0, 1)', x: f(z)}\n"
        "guide: {z: 'Normal(0, 1)'}\ntrain: {epochs: 5, seed: 1}\nobjective: elbo()\n",
        over="extends: base.yaml\ndata: {y: null}\nnetworks: {g: linear(), h: linear()}\nmodel: {x: 'Normal(0, 1)'}\n"
        "guide: null\ntrain: {steps: 7}\n",
    )
    spec = read(tmp_path / "over.yaml")
    assert [entry.name for entry in spec.data] == ["x"]
    assert [(entry.key.name, show(entry.value)) for entry in spec.networks] == [
        ("f", "mlp([8])"),
        ("g", "linear()"),
        ("h", "linear()"),
    ]
    assert [entry.key.name for entry in spec.model] == ["x"]
    assert spec.guide is None
    assert [(entry.key, entry.value) for entry in spec.train] == [("seed", 1), ("steps", 7)]
    assert spec.objective == Call("elbo")


def test_extended_paths_are_relative_to_the_file_that_wrote_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", base="data: {x: {file: t.csv}}\n")
    write(tmp_path, over="extends: deep/base.yaml\ndata: {y: {file: t.csv}}\n")
    x, y = read(tmp_path / "over.yaml").data
    assert (Path(x.base), Path(y.base)) == (tmp_path / "deep", tmp_path)


def test_cycles_end(tmp_path: Path) -> None:
    write(tmp_path, a="extends: b.yaml\n", b="extends: a.yaml\n")
    with pytest.raises(SpecError) as caught:
        read(tmp_path / "a.yaml")
    assert [problem.code for problem in caught.value.diagnostics] == ["extends-cycle"]


def test_problems_of_all_files_in_order(tmp_path: Path) -> None:
    write(tmp_path, base="train: {steps: 0}\n", over="extends: base.yaml\nmodel: {x: a.b}\nevaluate: {seed: -1}\n")
    with pytest.raises(SpecError) as caught:
        read(tmp_path / "over.yaml")
    assert [problem.code for problem in caught.value.diagnostics] == ["no-attribute", "out-of-range", "out-of-range"]


@pytest.mark.parametrize("engine", ["map", "map()", "svi(steps=5)"])
def test_optimizing_engines_stand_beside_an_objective(engine: str) -> None:
    assert read(f"{HEAD}objective: elbo()\ninfer: {engine}\n").infer is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {x: moons}\nmodel: {x: 'Normal(0, 1)'}\nguide: {x: 'Normal(0, 1)'}\n", None),
        ("model: {'z[0]': 'Normal(0, 1)', 'z[t]': 'Normal(0, 1)'}\n", None),
        ("parameters: {a: 'Normal(0, 1)'}\nguide: {a: 'Normal(0, 1)'}\n", None),
        ("model: {z: 'Normal(0, 1)', 'z[t]': 'Normal(0, 1)'}\n", "duplicate-name"),
        ("parameters: {a: 'Normal(0, 1)'}\nmodel: {a: 'Normal(0, 1)'}\n", "duplicate-name"),
        ("data: {x: moons}\nnetworks: {x: linear()}\n", "duplicate-name"),
        ("networks: {f: linear()}\nbijectors: {f: affine()}\n", "duplicate-name"),
        ("networks: {f: linear()}\nguide: {f: 'Normal(0, 1)'}\n", "duplicate-name"),
        ("model: {x: 'Normal(0, 1)', 'x(s)': 's'}\n", "duplicate-name"),
        ("model: {exp: 'Normal(0, 1)'}\n", "shadowed-name"),
        ("model: {'f(exp)': '1'}\n", "shadowed-name"),
        ("data: {Normal: moons}\n", "shadowed-name"),
        ("data: {s: moons}\nmodel: {'x[s]': 'Normal(0, 1)'}\n", "index-form"),
        ("parameters: {'a[s]': 'Normal(0, 1)'}\n", "unknown-name"),
        ("networks: {'f[k]': linear()}\n", "key-form"),
        ("critics: {'(x, z)': c(x, z)}\n", None),
    ],
)
def test_one_namespace(text: str, expected: str | None) -> None:
    if expected is None:
        read(HEAD + text)
    else:
        assert codes(HEAD + text) == [expected]


OVERRIDES = [
    ("train.steps=500", "train: {epochs: 60}", "train: {steps: 500}"),
    ("train.epochs=null", "train: {epochs: 60}", "train: {}"),
    ("train.optimizer=adam(1e-4, beta1=0.5)", "train: {}", "train: {optimizer: 'adam(1e-4, beta1=0.5)'}"),
    ("data.x.size=100", "data: {x: moons}", "data: {x: {dataset: moons, size: 100}}"),
    ("data.x.file=t.csv", "data: {x: moons}", "data: {x: {file: t.csv}}"),
    ("data.x.transform=[unit()]", "data: {x: moons}", "data: {x: {dataset: moons, transform: unit()}}"),
    ("networks.f=mlp([64, 64])", "networks: {f: linear(), g: linear()}", "networks: {f: 'mlp([64, 64])', g: linear()}"),
    ("model.z[t]=Normal(0, 1)", "model: {'z[t]': Laplace(0)}", "model: {'z[t]': 'Normal(0, 1)'}"),
    ("objective=iwae(particles=8)", "model: {}", "objective: iwae(particles=8)"),
    ("guide=null", "guide: {z: Laplace(0)}", "model: {}"),
    ("name=u", "name: v", "name: u"),
]


@pytest.mark.parametrize(("override", "before", "after"), OVERRIDES, ids=[case[0] for case in OVERRIDES])
def test_overrides_are_what_the_spec_would_say(override: str, before: str, after: str) -> None:
    assert apply_override(read(f"dgmppl: 1\n{before}\n"), override) == read(f"dgmppl: 1\n{after}\n")


@pytest.mark.parametrize(
    ("override", "code", "column"),
    [
        ("train.steps", "override-form", 1),
        ("=3", "override-form", 1),
        ("train=3", "override-form", 1),
        ("infer.steps=3", "override-form", 7),
        ("trian.steps=3", "unknown-key", 1),
        ("train.step=3", "unknown-key", 7),
        ("train.steps=-3", "out-of-range", 13),
        ("train.steps=", "missing-value", 12),
        ("train.ema=null", "unknown-key", 7),
        ("model.z=Normal(a.b, 1)", "no-attribute", 16),
        ("data.y.size=3", "unknown-key", 6),
        ("data.x.sise=3", "unknown-key", 8),
        ("networks.exp=linear()", "shadowed-name", 10),
        ("extends=a.yaml", "unknown-key", 1),
    ],
)
def test_bad_overrides(override: str, code: str, column: int) -> None:
    spec = read(f"{HEAD}data: {{x: moons}}\ntrain: {{steps: 5}}\n")
    with pytest.raises(SpecError) as caught:
        apply_override(spec, override)
    (problem,) = caught.value.diagnostics
    assert isinstance(problem, Diagnostic)
    assert problem.span is not None
    assert (problem.code, problem.span.column) == (code, column)


def plain(node: Node | None) -> object:
    match node:
        case Scalar():
            return node.value
        case List(items=items):
            return [plain(item) for item in items]
        case Table(entries=entries):
            return {key.text: plain(item) for key, item in entries}
    return None


def test_schema_is_valid_and_fresh() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(schema_text()) == json_schema()
    assert (SPECS / "schema.json").read_text(encoding="utf-8") == schema_text()
    assert set(json_schema()["properties"]) == set(SECTIONS)


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_zoo_fits_the_schema(path: Path) -> None:
    document = plain(compose(decode(path.read_bytes(), path.name)))
    jsonschema.Draft202012Validator(json_schema()).validate(document)


@pytest.mark.parametrize(
    "document",
    [
        {"name": "t"},
        {"dgmppl": 2},
        {"dgmppl": 1, "dta": {}},
        {"dgmppl": 1, "train": {"steps": 0}},
        {"dgmppl": 1, "train": {"optimiser": "adam(1)"}},
        {"dgmppl": 1, "data": {"x": {"support": "real"}}},
        {"dgmppl": 1, "data": {"x": {"file": "a", "dataset": "b"}}},
        {"dgmppl": 1, "data": {"x": {"file": "a", "size": 3}}},
        {"dgmppl": 1, "model": {"x": {}}},
        {"dgmppl": 1, "data": {"x": {"dataset": "a", "keep": 2}}},
    ],
)
def test_schema_refuses(document: object) -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(document)


PIECES = st.sampled_from(
    [
        "dgmppl: 1\n",
        "name: t\n",
        "data:\n",
        "model:\n",
        "guide:\n",
        "train:\n",
        "networks:\n",
        "critics:\n",
        "extends: x\n",
        "  x: moons\n",
        "  x: Normal(0, 1)\n",
        "  z[t]: Normal(z[t-1], 1)\n",
        "  (v, h): Energy(e)\n",
        "  steps: 5\n",
        "  x: {dataset: moons, split: {test: 0.1}}\n",
        "  x:\n",
        "  - a\n",
        "infer: nuts()\n",
        "objective: elbo()\n",
        "  x: null\n",
        "  x: [1, 2\n",
        "  x: 1e999\n",
        "null: 1\n",
        "? a\n",
        "  f(s): s + \n",
        "  x: [[1], {a: b}]\n",
        "1: 2\n",
        "  batch_size: all\n",
        "\t",
        "&a ",
        "train: 3\n",
        "data: [1]\n",
        "guide: auto()\n",
        "evaluate: {metrics: []}\n",
        "  optimizers: {f: adam(1)}\n",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=12).map("".join), st.booleans())
def test_any_spec_is_read_or_refused(text: str, headed: bool) -> None:
    try:
        spec = read(f"dgmppl: 1\n{text}" if headed else f"\n{text}")
    except SpecError as error:
        assert {problem.code for problem in error.diagnostics} <= set(CODES)
        assert str(error)
    else:
        assert read(to_yaml(spec)) == spec


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(ZOO), st.data())
def test_a_damaged_spec_is_read_or_refused(path: Path, draw: st.DataObject) -> None:
    text = path.read_text(encoding="utf-8")
    start = draw.draw(st.integers(0, len(text)))
    end = draw.draw(st.integers(start, min(len(text), start + 12)))
    with_damage = (
        text[:start] + draw.draw(st.sampled_from(["", " ", "(", "]", ": ", "\n", "'", ",", "*", "null"])) + text[end:]
    )
    try:
        spec: Spec = read("\n" + with_damage)
    except SpecError as error:
        assert str(error)
    else:
        assert spec.source.text


def test_relative_files_in_the_normal_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", base="data: {x: {file: t.csv}}\n")
    monkeypatch.chdir(tmp_path)
    (entry,) = read(to_yaml(read("deep/base.yaml"))).data
    assert entry.source == os.path.join("deep", "t.csv")
