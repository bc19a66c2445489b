"""Standalone text: what a runtime module takes from libraries can be imported by the text that inlines it."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dgmppl_numpyro.emit
import dgmppl_pyro.emit
from dgmppl.compiler import compile_spec
from dgmppl.ir.emission.runtime import RUNTIME
from dgmppl_numpyro.emit.module import NumPyroPrinter
from dgmppl_pyro.emit.module import PyroPrinter

PRINTERS = {"pyro": (dgmppl_pyro.emit, PyroPrinter), "numpyro": (dgmppl_numpyro.emit, NumPyroPrinter)}
CHAINS: list[dict[str, str]] = [
    {"z[0]": "Normal(0, 1)", "z[t]": "Normal(0.5 * z[t-1], 1)", "y[t]": "Normal(z[t], 1)"},
    {"s[0]": "Bernoulli(0.5)", "s[t]": "Bernoulli(0.2 + 0.6 * s[t-1])", "y[t]": "Normal(s[t], 1)"},
]


class _AtRunTime(ast.NodeTransformer):
    """Leaves out annotations, which nothing evaluates."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Expr(node.value or ast.Constant(None))

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def sources(package: ModuleType) -> list[Path]:
    """The files of the runtime modules that standalone text may inline."""
    root = Path(str(package.__file__)).parent.parent
    return [path for path in root.rglob("*.py") if path.relative_to(root).parts[0].removesuffix(".py") in RUNTIME]


def library_names(tree: ast.Module) -> set[str]:
    """What a module's import statements take from anywhere but our packages."""
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    foreign = [node for node in imports if not (isinstance(node, ast.ImportFrom) and _ours(node))]
    return {alias.asname or alias.name for node in foreign for alias in node.names}


def _ours(node: ast.ImportFrom) -> bool:
    return (node.module or "").startswith(("dgmppl", "__future__"))


@pytest.mark.parametrize("backend", PRINTERS)
def test_the_printer_knows_the_import_of_every_library_name(backend: str) -> None:
    package, printer = PRINTERS[backend]
    missing = {}
    for path in sources(package):
        # Solvers of differential equations are never inlined.
        if path.stem == "odes":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        foreign = library_names(tree) - printer.imports.keys() - {"TYPE_CHECKING"}
        read = {node.id for node in ast.walk(_AtRunTime().visit(tree)) if isinstance(node, ast.Name)}
        missing.update({path.name: foreign & read} if foreign & read else {})
    assert missing == {}


@pytest.mark.parametrize("model", CHAINS, ids=["Kalman filter", "forward algorithm"])
@pytest.mark.parametrize("backend", PRINTERS)
def test_recursions_are_inlined(backend: str, model: dict[str, str]) -> None:
    declared = {"dgmppl": 1, "name": "chain", "data": {"y": {"shape": [5]}}, "model": model}
    rows, found = {"y": np.linspace(-1.0, 1.0, 10).reshape(2, 5)}, []
    for standalone in (False, True):
        compiled = compile_spec(declared, backend=backend, standalone=standalone)
        assert ("from dgmppl" in compiled.source) != standalone
        found.append(compiled.executable.call("log_prob", {}, rows)["value"])
    np.testing.assert_array_equal(*found)
