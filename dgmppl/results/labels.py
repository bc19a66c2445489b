"""Named dimensions and coordinates from the spec: levels, table columns, time, data rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dgmppl.ir.densities import MarkovChain
from dgmppl.ir.program import IndexKind, Program, Site

Array: TypeAlias = NDArray[Any]

DATUM = "datum"


@dataclass(frozen=True, slots=True)
class Axis:
    """One named axis with its coordinates."""

    name: str
    labels: Sequence[Any] | Array


def level_axis(program: Program, level: str) -> Axis:
    """The axis of a level index; its labels are the data's own."""
    return Axis(level, list(program.levels[level]))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that a posterior conditions on.

    Attributes:
        numbers: the rows' numbers in the source.
        masks: by `x.observed`, where a column with missing entries has them, `[N, *event]`.
    """

    numbers: Array
    masks: Mapping[str, Array]


def parameter_axes(program: Program, name: str, shape: tuple[int, ...], rows: Rows | None = None) -> list[Axis]:
    """The axes of a parameter's value: its level or the data's rows first, then its event.

    Args:
        program: the typed program.
        name: a site, a canonical parameter name below one, or `x.missing` for the missing entries of x.
        shape: of one value, the level's or the rows' axis included.
        rows: what latents of a row and missing entries are named after; they are counted without.
    """
    site = program.by_name.get(name)
    if site is not None and site.section == "model" and shape:
        return datum_axes(program, name, shape, np.arange(shape[0]) if rows is None else rows.numbers)
    if rows is not None and (mask := rows.masks.get(f"{name.removesuffix('.missing')}.observed")) is not None:
        return [Axis(f"{name}_entry", _gaps(program, name.removesuffix(".missing"), mask, rows.numbers))]
    axes: list[Axis] = []
    if site is not None and site.level is not None:
        axes.append(level_axis(program, site.level))
    return axes + _event_axes(program, name, site, shape[len(axes) :])


def datum_axes(program: Program, name: str, shape: tuple[int, ...], rows: Array) -> list[Axis]:
    """The axes of a data column or a local latent, `[N, *event]`; `rows` are the rows' numbers in the source."""
    column = program.columns.get(name)
    site = program.by_name.get(name)
    event = _event_axes(program, name, site, shape[1:])
    if column is not None and column.per is not None:
        return [level_axis(program, column.per), *event]
    return [Axis(DATUM, rows if len(rows) == shape[0] else np.arange(shape[0])), *event]


def _gaps(program: Program, name: str, mask: Array, numbers: Array) -> Array:
    """A label for each missing entry: its row in the source; `row, element` where a row holds several."""
    places = np.argwhere(~mask)
    if mask.ndim == 1:
        return np.asarray(numbers)[places[:, 0]]
    axes = _event_axes(program, name, program.by_name.get(name), mask.shape[1:])
    column = program.columns.get(name)
    heads = [] if column is not None and column.whole else [np.asarray(numbers)[places[:, 0]]]
    parts = [*heads, *(np.asarray(axis.labels)[place] for axis, place in zip(axes, places[:, 1:].T, strict=True))]
    if len(parts) == 1:
        return np.asarray(parts[0])
    return np.asarray([", ".join(map(str, entry)) for entry in zip(*parts, strict=True)])


def _event_axes(program: Program, name: str, site: Site | None, shape: tuple[int, ...]) -> list[Axis]:
    axes = [Axis(f"{name}_dim_{place}", np.arange(size)) for place, size in enumerate(shape)]
    if site is not None and site.index is IndexKind.TIME and axes:
        index = site.density.index if isinstance(site.density, MarkovChain) else "t"
        axes[0] = Axis(index, np.arange(shape[0]))
    fields = program.columns[name].fields if name in program.columns else None
    if fields is not None and axes and len(fields) == shape[-1]:
        axes[-1] = Axis(f"{name}_column", list(fields))
    return axes


def labelled(values: Array, axes: Sequence[Axis], *, leading: Sequence[str] = ("chain", "draw")) -> xr.DataArray:
    """Values as a labelled array: the leading axes, then the named ones."""
    dims = [*leading, *(axis.name for axis in axes)]
    coordinates = {name: np.arange(size) for name, size in zip(leading, values.shape, strict=False)}
    coordinates |= {axis.name: np.asarray(axis.labels) for axis in axes}
    return xr.DataArray(values, dims=dims, coords=coordinates)


def _readable(program: Program, name: str, array: Array) -> Array:
    """Real numbers that happen to be whole as reals (plots take integers for counts); codes of covariates as labels."""
    column = program.columns.get(name)
    if column is None or array.dtype.kind not in "iu":
        return array
    if column.coded and column.levels is not None:
        observed = any(site.name == name for site in program.observed)
        return array if observed else np.asarray(column.levels)[array]
    discrete = column.raw_support is not None and column.raw_support.discrete
    return array if discrete else array.astype(np.float64)


def data_group(program: Program, arrays: Mapping[str, Array], names: Sequence[str], rows: Array) -> xr.Dataset:
    """Data columns as a group, in the data's own units where raw arrays are given; observed labels as their codes.

    Args:
        program: the typed program.
        arrays: `[N, *event]` by column.
        names: which columns.
        rows: the rows' numbers in the source.
    """
    variables = {}
    for name in names:
        if name not in arrays:
            continue
        column = program.columns.get(name)
        array = _readable(program, name, arrays[name])
        if column is not None and column.whole:
            axes = _event_axes(program, name, program.by_name.get(name), array.shape[1:])
            variables[name] = labelled(array[0], axes, leading=())
        else:
            variables[name] = labelled(array, datum_axes(program, name, array.shape, rows), leading=())
    return xr.Dataset(variables)
