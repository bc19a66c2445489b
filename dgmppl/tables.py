"""The closed tables of the language, for `dgmppl list`: each name with the meaning that its declaration gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TABLES: dict[str, str] = {
    "backends": "what programs are emitted for",
    "bijectors": "invertible steps",
    "datasets": "data that need no file",
    "diagnostics": "codes of everything that can be wrong",
    "distributions": "with parameters and supports",
    "divergences": "between data and model",
    "engines": "of posterior inference",
    "functions": "of the expression language",
    "guides": "families of variational posteriors",
    "metrics": "of a fitted model on held-out rows",
    "networks": "kinds of functions with parameters",
    "objectives": "what can be minimized",
    "samplers": "of densities that have no exact one",
    "schedules": "of diffusions",
    "specs": "ready to run, with their paths",
    "transforms": "of data",
}


def entries(table: str) -> dict[str, str]:
    """The names of a table with their meanings, sorted."""
    return dict(sorted({name: _meaning(entry) for name, entry in _table(table).items()}.items()))


def _table(table: str) -> Mapping[str, Any]:
    match table:
        case "backends":
            from dgmppl.backend import available

            return available()
        case "bijectors":
            from dgmppl.ir.bijectors import BIJECTORS

            return BIJECTORS
        case "datasets":
            from dgmppl.data.datasets import BUNDLED
            from dgmppl.data.generators import GENERATORS

            return {**dict.fromkeys(BUNDLED, "bundled"), **GENERATORS}
        case "diagnostics":
            from dgmppl.errors import CODES

            return CODES
        case "distributions":
            from dgmppl.ir.distributions import DISTRIBUTIONS

            return DISTRIBUTIONS
        case "divergences":
            from dgmppl.ir.options import DIVERGENCES as WORDS
            from dgmppl.objectives.divergences import DIVERGENCES

            return {**{name: entry.doc for name, entry in WORDS.items()}, **DIVERGENCES}
        case "functions":
            from dgmppl.ir.functions import FUNCTIONS

            return FUNCTIONS
        case "networks":
            from dgmppl.ir.networks import NETWORKS

            return NETWORKS
        case "specs":
            from dgmppl.zoo_folder import specs

            return specs()
        case "transforms":
            from dgmppl.ir.transforms import TRANSFORMS

            return TRANSFORMS
    from dgmppl.ir import options

    tables: dict[str, Mapping[str, Any]] = {
        "engines": options.ENGINES, "guides": options.GUIDES, "objectives": options.OBJECTIVES,
        "metrics": options.METRICS, "samplers": options.SAMPLERS, "schedules": options.DIFFUSION_SCHEDULES,
    }  # fmt: skip
    return tables[table]


def _meaning(entry: Any) -> str:
    """A declaration's own words: its `doc`, or the first line of its docstring."""
    if isinstance(entry, str):
        return entry
    doc = getattr(entry, "doc", None) or (entry.__doc__ or "").strip()
    return str(doc).split("\n")[0]
