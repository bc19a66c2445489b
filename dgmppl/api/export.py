"""Samples to files, and data files to columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.answers import Answers
from dgmppl.api.given import found_in
from dgmppl.data.contents import FileError, Table
from dgmppl.data.files import read_files
from dgmppl.data.sources import split_argument
from dgmppl.errors import ArgumentError, RunError
from dgmppl.results.tables import columns, to_text

Array: TypeAlias = NDArray[Any]


_PICTURES = frozenset({".png", ".svg", ".pdf"})
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def write_samples(fit: Answers, path: Path, n: int, given: Mapping[str, Any] | None, seed: int) -> None:
    """Draw and write; the ending of the name chooses the format: .npz .npy .csv .tsv .parquet, or a picture.

    Raises:
        RunError: for another ending, or where the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending in _PICTURES:
        from dgmppl.api.saving import draw_samples

        draw_samples(fit, path, n, given, seed)
        return
    try:
        _write(path, ending, fit, _drawn(fit, n, given, seed))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def sample_frame(fit: Answers, n: int, given: Mapping[str, Any] | None = None, seed: int = 0) -> Any:
    """Draws as a pandas DataFrame, one column per element, in the data's own units and with their labels."""
    import pandas

    return pandas.DataFrame(columns(fit.program.compiled.program, _drawn(fit, n, given, seed)))


def _drawn(fit: Answers, n: int, given: Mapping[str, Any] | None, seed: int) -> dict[str, Array]:
    drawn = fit.sample(n, given, seed)
    return dict(drawn) if isinstance(drawn, dict) else {fit.program.compiled.program.observed[0].name: drawn}


def _write(path: Path, ending: str, fit: Answers, drawn: dict[str, Array]) -> None:
    table = columns(fit.program.compiled.program, drawn)
    if ending == ".npz":
        np.savez_compressed(path, **drawn)  # type: ignore[arg-type]
    elif ending == ".npy" and len(drawn) == 1:
        np.save(path, next(iter(drawn.values())), allow_pickle=False)
    elif ending in _DELIMITERS:
        path.write_text(to_text(table, _DELIMITERS[ending]), encoding="utf-8")
    elif ending == ".parquet":
        _write_parquet(path, table)
    else:
        known = ".npz, .csv, .tsv, .parquet, .png, .svg, or .npy for a single variable"
        raise ArgumentError(f"{path.name}: samples are written as {known}")


def _write_parquet(path: Path, table: dict[str, Array]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise RunError(f"{path.name} needs the library pyarrow: pip install 'dgmppl[arrow]'") from error
    parquet.write_table(pyarrow.table(table), path)


def read_columns(fit: Answers, given: Sequence[str]) -> dict[str, Any]:
    """`NAME=FILE` or `NAME=FILE:key` arguments as columns; a single FILE gives all columns that it has.

    A variable is found under its own name, or under the table columns or the key that the spec selects.

    Raises:
        RunError: a file cannot be read, or does not say which column it holds.
    """
    program, declarations = fit.program.compiled.program, fit.program.compiled.spec.data
    found: dict[str, Any] = {}
    for argument in given:
        name, mark, path = argument.partition("=")
        if mark:
            found[name] = _named(fit, name, path)
            continue
        entries = _read(Path(argument))
        found |= {_only(fit): entries[None]} if None in entries else found_in(program, declarations, entries)
    return found


def _named(fit: Answers, name: str, argument: str) -> Any:
    """The array that `FILE` or `FILE:key` gives to a variable."""
    path, key = split_argument(argument)
    entries = _read(Path(path))
    if key is None:
        declared = [one for one in fit.program.compiled.spec.data if one.name == name]
        chosen = found_in(fit.program.compiled.program, declared, entries)
        if chosen or len(entries) == 1:
            return chosen.get(name, next(iter(entries.values())))
    elif key in entries:
        return entries[key]
    raise ArgumentError(f"{path} holds {', '.join(map(str, entries))}, none of which is {key or name!r}")


def _read(path: Path) -> dict[Any, Array]:
    try:
        content = read_files(path)
    except FileError as error:
        raise ArgumentError(f"{path} {error.message}" + (f"; {error.fix}" if error.fix else "")) from error
    return dict(content.columns if isinstance(content, Table) else content.arrays)


def _only(fit: Answers) -> str:
    names = [site.name for site in fit.program.compiled.program.observed]
    if len(names) != 1:
        raise ArgumentError(f"say which variable the file holds: NAME=FILE with one of {', '.join(names)}")
    return names[0]
