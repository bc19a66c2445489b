"""The difference between ArviZ 0.x (`InferenceData`) and 1.x (`DataTree`), in one place."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr


def major() -> int:
    """ArviZ's major version."""
    return int(version("arviz").split(".")[0])


def gather(groups: Mapping[str, xr.Dataset]) -> Any:
    """The groups as ArviZ's own container."""
    if major() >= 1:
        return xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    with warnings.catch_warnings():
        # 0.23 announces 1.0 once a day, in the user's terminal.
        warnings.simplefilter("ignore")
        import arviz

        return arviz.InferenceData(**dict(groups))


def groups_of(container: Any) -> dict[str, xr.Dataset]:
    """The groups of a container by name."""
    if major() >= 1:
        return {name: child.to_dataset() for name, child in container.children.items()}
    return {name: container[name] for name in container.groups()}


def write(container: Any, path: Path) -> None:
    """Write netCDF through h5netcdf, which needs no system library."""
    container.to_netcdf(str(path), engine="h5netcdf")


def read(path: Path) -> Any:
    """Read what `write` wrote, into memory."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return gather({name: child.to_dataset().load() for name, child in tree.children.items()})
