"""The runtime pieces that a module uses, as text of its own."""

from __future__ import annotations

import inspect
from pathlib import Path

from dgmppl.ir import schedules
from dgmppl.ir.emission.inline import inline
from dgmppl.ir.emission.runtime import RUNTIME
from dgmppl.ir.emission.values import unsupported

# Read, not imported: some modules need libraries that most programs do not; `odes` is never inlined.
_MODULES = tuple(name for name in RUNTIME if name != "odes")
# A package is read as one module, of its parts in such an order too.
_PACKAGES = {
    "bijectors": ("base", "functions", "splines", "elements", "chain", "mixing", "conditional"),
    "diffusion": ("process", "bounds", "flows", "reverse"),
}
# What the backends share stands in the core.
_SHARED = {"schedules": schedules}
# What calls a solver of differential equations.
_SOLVED = {("diffusion", "log_prob"), ("diffusion", "ode")}
_FOLDER = Path(__file__).resolve().parent.parent


def inlined(used: set[tuple[str, str]]) -> list[str]:
    """The definitions that (module, name) pairs need, and a namespace for each module.

    Raises:
        UnsupportedError: a differential equation is solved, for which there is no text without the runtime package.
    """
    if used & _SOLVED or any(module == "odes" for module, _ in used):
        raise unsupported("a differential equation in standalone text", None, "pyro")
    return inline({name: _source(name) for name in _MODULES}, used)


def _source(module: str) -> str:
    if module in _SHARED:
        return inspect.getsource(_SHARED[module])
    parts = [f"{module}/{part}.py" for part in _PACKAGES.get(module, ())] or [f"{module}.py"]
    return "\n".join((_FOLDER / part).read_text(encoding="utf-8") for part in parts)
