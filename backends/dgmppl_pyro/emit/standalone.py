"""The runtime pieces that a module uses, as text of its own."""

from __future__ import annotations

from pathlib import Path

from dgmppl.ir.emission.inline import inline

# In an order in which a module comes after those that it takes definitions from; read, not imported: some of them need
# libraries that most programs do not.
_MODULES = (
    "operations", "elementary", "constraints", "densities", "draws", "loops", "recursions", "kalman", "transport",
    "networks", "activations", "embedding", "attention", "convolutions", "recurrent", "residual", "causal",
    "distributions", "programs",
)  # fmt: skip
_RUNTIME = Path(__file__).resolve().parent.parent


def inlined(used: set[tuple[str, str]]) -> list[str]:
    """The definitions that (module, name) pairs need, and a namespace for each module."""
    sources = {name: (_RUNTIME / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES}
    return inline(sources, used)
