"""The data schema of a run as JSON data, so that a run loads without the data that it was fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from dgmppl.errors import DgmpplError, RunError
from dgmppl.ir.data import Column, DataSchema, Extreme
from dgmppl.ir.transforms import from_dict
from dgmppl.ir.types import KINDS, Dtype, Support

_SUPPORTS = ("support", "raw_support")
# Beyond any data set; sizes are multiplied before anything is allocated.
_MOST = 2**48
_EXTREMES = ("lowest", "highest", "fractional", "off_simplex")


def to_json(schema: DataSchema) -> dict[str, Any]:
    """The schema as JSON data; places in the spec are left out."""
    return {
        "rows": schema.rows,
        "split_rows": dict(schema.split_rows),
        "columns": [_column(column) for column in schema.columns.values()],
    }


def from_json(data: Mapping[str, Any]) -> DataSchema:
    """The schema that `to_json` wrote.

    Raises:
        RunError: where the data have another form.
    """
    try:
        columns = [_read_column(column) for column in data["columns"]]
        counts = (data["rows"], *data["split_rows"].values())
        if not all(count is None or _is_count(count) for count in counts):
            raise ValueError("a number of rows is no count")
        return DataSchema({column.name: column for column in columns}, data["rows"], dict(data["split_rows"]))
    except KeyError as error:
        why = f"it lacks {error}; either it is damaged, or an earlier version of dgmppl wrote it"
        raise RunError(f"columns.json of the run cannot be read: {why}; fix: fit the run's spec.yaml again") from error
    except (TypeError, ValueError, AttributeError, DgmpplError) as error:
        raise RunError(f"columns.json of the run is damaged: {error!r}") from error


def _column(column: Column) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for item in fields(column):
        value = getattr(column, item.name)
        match value:
            case Dtype():
                data[item.name] = value.value
            case Support():
                data[item.name] = {"kind": value.kind, "size": value.size, "low": value.low, "high": value.high}
            case Extreme():
                data[item.name] = {"value": value.value, "row": value.row}
            case _ if item.name == "transforms":
                data[item.name] = [
                    {**one.to_dict(), "constants": {key: _array(part) for key, part in one.constants().items()}}
                    for one in value
                ]
            case _ if item.name != "span":
                data[item.name] = value
    return data


def _array(array: Any) -> dict[str, Any]:
    """Shape and values; JSON prints a float64 with all the digits that tell it apart."""
    return {"shape": list(array.shape), "values": np.asarray(array, dtype=np.float64).ravel().tolist()}


def _read_column(data: Mapping[str, Any]) -> Column:
    read: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    read["dtype"] = Dtype(data["dtype"])
    read |= {key: _read_support(data[key]) for key in _SUPPORTS if data[key] is not None}
    read |= {key: Extreme(**data[key]) for key in _EXTREMES if data[key] is not None}
    transforms = []
    for stored in data["transforms"]:
        constants = {
            key: np.asarray(part["values"]).reshape(part["shape"]) for key, part in stored["constants"].items()
        }
        transforms.append(from_dict({key: value for key, value in stored.items() if key != "constants"}, constants))
    column = Column(**{**read, "transforms": tuple(transforms)})
    for item in fields(column):
        if not _fits(str(item.type), getattr(column, item.name)):
            raise ValueError(f"{item.name} of {column.name!r} is no {item.type}")
    return column


def _read_support(data: Mapping[str, Any]) -> Support:
    support = Support(**data)
    if support.kind not in KINDS or not (support.size is None or _is_count(support.size)):
        raise ValueError(f"there is no support {support}")
    return support


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


# By annotation, whether a value is of the form that a column's field declares.
_FORMS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str), "bool": lambda value: isinstance(value, bool), "int": _is_count,
    "Shape": lambda value: isinstance(value, tuple) and all(map(_is_count, value)),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(isinstance(one, str) for one in value),
}  # fmt: skip


def _fits(annotation: str, value: Any) -> bool:
    form = annotation.removesuffix(" | None")
    return (value is None and form != annotation) or form not in _FORMS or _FORMS[form](value)
