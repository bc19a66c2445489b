"""The JSON Schema against a validator: the zoo fits it, and of the bad corpus what is structurally bad does not.

A spec is structurally bad if reading the file alone, before names, data or the specs that it extends are looked at,
reports one of the codes in `STRUCTURAL`. The schema has to refuse these and to accept every other spec.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from dgmppl.errors import CODES, SpecError
from dgmppl.source import Diagnostic
from dgmppl.spec.reader import read
from dgmppl.spec.schema import json_schema, schema_text
from dgmppl.spec.yaml_reader import List, Node, Scalar, Table, compose, decode

ROOT = Path(__file__).resolve().parents[2]
ZOO = sorted((ROOT / "specs").glob("*.yaml"))
BAD = sorted((ROOT / "tests" / "golden" / "bad").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())

STRUCTURAL = frozenset({
    "data-option", "data-source", "missing-value", "out-of-range", "steps-and-epochs", "unknown-choice", "unknown-key",
    "version-missing", "version-unknown", "wrong-type",
})  # fmt: skip
# Names of data and of the spec are checked by a pattern; those of declarations are part of the expression grammar.
NAMES = frozenset({"name-form"})


def plain(node: Node | None) -> object:
    """A node as the JSON value that an editor's YAML reader makes of it."""
    match node:
        case Scalar():
            return node.value
        case List(items=items):
            return [plain(item) for item in items]
        case Table(entries=entries):
            return {key.text: plain(item) for key, item in entries}
    return None


def document(path: Path) -> object:
    return plain(compose(decode(path.read_bytes(), path.name)))


def is_yaml(path: Path) -> bool:
    try:
        document(path)
    except SpecError:
        return False
    return True


def codes_of_the_file(path: Path) -> set[str]:
    """What the reader reports in this file itself."""
    try:
        read(path)
    except SpecError as error:
        problems = [problem for problem in error.diagnostics if isinstance(problem, Diagnostic)]
        return {one.code for one in problems if one.span is None or one.span.source.name == str(path)}
    return set()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(schema_text()) == json_schema()
    assert set(CODES) >= STRUCTURAL | NAMES


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_the_zoo_fits(path: Path) -> None:
    VALIDATOR.validate(document(path))


@pytest.mark.parametrize("path", [path for path in BAD if is_yaml(path)], ids=lambda path: path.stem)
def test_the_schema_refuses_what_is_structurally_bad_and_nothing_else(path: Path) -> None:
    codes = codes_of_the_file(path)
    if VALIDATOR.is_valid(document(path)):
        assert codes & STRUCTURAL == set()
    else:
        assert codes & (STRUCTURAL | NAMES)


def test_the_corpus_holds_every_structural_code() -> None:
    refused = [path for path in BAD if is_yaml(path) and not VALIDATOR.is_valid(document(path))]
    found = Counter(code for path in refused for code in codes_of_the_file(path))
    assert set(found) >= STRUCTURAL
    accepted = sum(is_yaml(path) for path in BAD) - len(refused)
    print(f"{len(BAD)} bad specs: {len(refused)} refused by the schema, {accepted} left to `dgmppl check`")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"dgmppl": True},
        {"dgmppl": 1, "name": "a/b"},
        {"dgmppl": 1, "model": None},
        {"dgmppl": 1, "networks": {"f": None}},
        {"dgmppl": 1, "train": {"steps": 5, "epochs": 2}},
        {"dgmppl": 1, "data": {"x[i]": "moons"}},
        {"dgmppl": 1, "data": {"x": "folder/t.csv"}},
        {"dgmppl": 1, "infer": {"nuts": 5}},
    ],
    ids=str,
)
def test_refused(content: object) -> None:
    assert not VALIDATOR.is_valid(content)


@pytest.mark.parametrize(
    "content",
    [
        {"dgmppl": 1, "extends": "vae.yaml", "guide": None, "networks": {"encoder": None}},
        {"dgmppl": 1, "extends": "vae.yaml", "train": {"steps": 5, "epochs": None}},
        {"dgmppl": 1, "data": {"x": {"file": "t.csv", "split": {"test": 0.1}}, "y": [1, 2], "z": "x + 1"}},
        {"dgmppl": 1, "guide": "auto(normal)", "model": {"z": 0, "x": "Normal(z, 1)"}},
        {"dgmppl": 1, "name": "a b", "bijectors": {"flow": ["affine()", "permute()"]}},
    ],
    ids=str,
)
def test_accepted(content: object) -> None:
    VALIDATOR.validate(content)
