"""The data sets that need no file of the user's: those that scikit-learn ships, and synthetic ones.

scikit-learn's own loaders import most of the library; here its bundled files are read directly.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.generators import GENERATORS
from dgmppl.data.options import integer_option, refusal
from dgmppl.errors import InternalError
from dgmppl.ir.types import BINARY, Support, integer
from dgmppl.source import nearest
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]
Field: TypeAlias = tuple[Array, "Support | None"]

_DEFAULT_SIZE = 4096
_LARGEST_SIZE = 10_000_000


def _bundled_text(name: str) -> str:
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise InternalError("scikit-learn, a dependency of dgmppl, is not installed")
    content = (Path(found.origin).parent / "datasets" / "data" / name).read_bytes()
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8")


def _matrix(text: str) -> Array:
    """Rows of numbers, separated by commas or blanks."""
    return np.loadtxt(text.replace(",", " ").splitlines(), ndmin=2)


def _digits() -> dict[str, Field]:
    table = _matrix(_bundled_text("digits.csv.gz")).astype(np.int64)
    pixels = table[:, :-1]
    return {
        "images": (pixels.reshape(-1, 8, 8), integer(17)),
        "features": (pixels, integer(17)),
        "target": (table[:, -1], integer(10)),
    }


def _labelled(name: str, support: Support) -> dict[str, Field]:
    """A table whose first line holds counts and class names, and whose last column is the class."""
    table = _matrix(_bundled_text(name).split("\n", 1)[1])
    return {"features": (table[:, :-1], None), "target": (table[:, -1].astype(np.int64), support)}


def _diabetes() -> dict[str, Field]:
    return {
        "features": (_matrix(_bundled_text("diabetes_data_raw.csv.gz")), None),
        "target": (_matrix(_bundled_text("diabetes_target.csv.gz"))[:, 0], None),
    }


BUNDLED: dict[str, Callable[[], dict[str, Field]]] = {
    "breast_cancer": lambda: _labelled("breast_cancer.csv", BINARY),
    "diabetes": _diabetes,
    "digits": _digits,
    "iris": lambda: _labelled("iris.csv", integer(3)),
    "wine": lambda: _labelled("wine_data.csv", integer(3)),
}


def read_dataset(declaration: DataDeclaration, cache: dict[str, dict[str, Field]]) -> Field:
    """The array of a `dataset` source, rows first, and its support where the set implies one.

    Args:
        declaration: with the source `digits.images` or `moons`.
        cache: the bundled sets that were read before; filled here.

    Raises:
        SpecError: for an unknown set or field, or options that it does not have.
    """
    name, _, field = str(declaration.source).partition(".")
    if name in GENERATORS:
        return _synthetic(declaration, name, field)
    if name not in BUNDLED:
        known = sorted({*BUNDLED, *GENERATORS})
        close = nearest(name, known)
        meant = f"{close}.{field}" if close in BUNDLED and field else close
        raise refusal(
            "data-unknown-dataset", f"there is no data set `{name}`", declaration, "dataset",
            expected=", ".join(known), fix=f"did you mean `{meant}`?" if meant else None,
            instead=(str(declaration.source), meant) if meant else None,
        )  # fmt: skip
    if declaration.option("size") is not None:
        raise refusal("data-option", f"{name} has its own size", declaration, "size", fix="leave out `size`")
    if name not in cache:
        cache[name] = BUNDLED[name]()
    if field not in cache[name]:
        raise _unknown_field(declaration, name, field, list(cache[name]))
    return cache[name][field]


def _synthetic(declaration: DataDeclaration, name: str, field: str) -> Field:
    if field:
        raise _unknown_field(declaration, name, field, [])
    size = integer_option(declaration, "size", minimum=1, default=_DEFAULT_SIZE, maximum=_LARGEST_SIZE)
    seed = integer_option(declaration, "seed", minimum=0, default=0)
    return GENERATORS[name](size, np.random.default_rng(seed)), None


def _unknown_field(declaration: DataDeclaration, name: str, field: str, known: list[str]) -> Exception:
    choices = ", ".join(f"{name}.{item}" for item in known) or name
    message = f"the data set {name} has no part `{field}`" if field else f"{name} does not say which part"
    close = nearest(field, known)
    return refusal(
        "data-unknown-dataset", message, declaration, "dataset",
        expected=choices, fix=f"did you mean `{name}.{close}`?" if close else None,
        instead=(f"{name}.{field}", f"{name}.{close}") if close else None,
    )  # fmt: skip
