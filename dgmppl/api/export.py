"""Samples to files, and data files to columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.fitted import Fit
from dgmppl.data.files import Arrays, FileError, Table, read_file
from dgmppl.errors import RunError

Array: TypeAlias = NDArray[Any]


def write_samples(fit: Fit, path: Path, n: int, given: Mapping[str, Any] | None, seed: int) -> None:
    """Draw and write; the ending of the name chooses the format: .npz .npy .csv, or a picture.

    Raises:
        RunError: for another ending, or where the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending in {".png", ".svg", ".pdf"}:
        from dgmppl.api.storage import draw_samples

        draw_samples(fit, path, n, given, seed)
        return
    drawn = fit.sample(n, given, seed)
    names = [site.name for site in fit.program.compiled.program.observed]
    columns: dict[str, Array] = dict(drawn) if isinstance(drawn, dict) else {names[0]: drawn}
    try:
        if ending == ".npz":
            np.savez_compressed(path, **columns)  # type: ignore[arg-type]
        elif ending == ".npy" and len(columns) == 1:
            np.save(path, next(iter(columns.values())), allow_pickle=False)
        elif ending == ".csv":
            path.write_text(_csv(columns), encoding="utf-8")
        else:
            raise RunError(f"{path.name}: samples are written as .npz, .csv, .png, .svg, or .npy for a single variable")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def _csv(columns: Mapping[str, Array]) -> str:
    """One line per draw, one column per element: `x.0, x.1, ...`; scalars keep their name."""
    header: list[str] = []
    cells: list[Array] = []
    for name, values in columns.items():
        flat = values.reshape(len(values), -1)
        header += [name] if values.ndim == 1 else [f"{name}.{place}" for place in range(flat.shape[1])]
        cells.append(flat)
    lines = [",".join(header)]
    lines += [",".join(str(cell) for part in cells for cell in part[row].tolist()) for row in range(len(cells[0]))]
    return "\n".join(lines) + "\n"


def read_columns(fit: Fit, given: Sequence[str]) -> dict[str, Any]:
    """`NAME=FILE` arguments as columns; a single FILE with a table, or an archive, gives all columns that it has.

    Raises:
        RunError: a file cannot be read, or does not say which column it holds.
    """
    program = fit.program.compiled.program
    columns: dict[str, Any] = {}
    for argument in given:
        name, mark, path = argument.partition("=")
        content = _read(Path(path if mark else argument))
        entries = content.columns.items() if isinstance(content, Table) else content.arrays.items()
        found: dict[str | None, Array] = dict(entries)
        if mark:
            if name not in found and len(found) != 1:
                raise RunError(f"{path} holds {', '.join(map(str, found))}, none of which is {name!r}")
            columns[name] = found.get(name, next(iter(found.values())))
        elif None in found:
            columns[_only(fit)] = found[None]
        else:
            columns |= {str(key): value for key, value in found.items() if key in program.columns}
    return columns


def _read(path: Path) -> Table | Arrays:
    try:
        return read_file(path)
    except FileError as error:
        raise RunError(f"{path} {error.message}" + (f"; {error.fix}" if error.fix else "")) from error


def _only(fit: Fit) -> str:
    names = [site.name for site in fit.program.compiled.program.observed]
    if len(names) != 1:
        raise RunError(f"say which variable the file holds: NAME=FILE with one of {', '.join(names)}")
    return names[0]
