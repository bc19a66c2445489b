"""The zoo for tests that run through all of it: which specs have a program, and data for those that bring none."""

from __future__ import annotations

from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgmppl.compiler import compile_spec
from dgmppl.errors import UnsupportedError
from dgmppl.ir.data import Column
from tests.support import SPECS


@cache
def lowered() -> tuple[str, ...]:
    """The specs that have a program; those that get one join by themselves. No backend is imported for it.

    Finished runs of the folder that the tests start from do not count.
    """
    with chdir(Path(__file__).parent):
        return tuple(path.stem for path in sorted(SPECS.glob("*.yaml")) if _has_program(path))


def _has_program(path: Path) -> bool:
    try:
        return bool(compile_spec(path).module.functions)
    except UnsupportedError:
        return False


def data_for(name: str, rows: int = 64) -> dict[str, NDArray[Any]]:
    """Values for the columns that a spec takes at run time, in their supports."""
    compiled = compile_spec(SPECS / f"{name}.yaml")
    generator = np.random.default_rng(0)
    bound = [one.name for one in compiled.spec.data if one.kind == "shape"]
    return {column: _values(compiled.program.columns[column], rows, generator) for column in bound}


def _values(column: Column, rows: int, generator: np.random.Generator) -> NDArray[Any]:
    support, shape = column.raw_support, column.raw_shape if column.whole else (rows, *column.raw_shape)
    if support is None or support.kind == "real":
        return generator.normal(size=shape)
    if support.states is not None:
        return generator.integers(support.states, size=shape)
    return generator.uniform(0.1, 0.9, size=shape)
