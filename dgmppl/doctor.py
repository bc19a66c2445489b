"""The state of an installation: backends with their versions and devices, threads, libraries, and what is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dgmppl.backend import available, load
from dgmppl.errors import DgmpplError

# The project's own backends, asked for even where they are not installed; others come from their entry points.
OWN = ("numpyro", "pyro")
CORE = ("numpy", "scipy", "scikit-learn", "pandas", "xarray", "h5netcdf", "safetensors", "arviz", "networkx", "typer")
# What dgmppl works without, and what it is for.
OPTIONAL = {
    "polars": "polars data frames in",
    "pyarrow": "parquet and arrow files",
    "pillow": "folders of images",
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """One backend.

    Attributes:
        usable: whether its libraries load.
        why: what is wrong and what to do about it; None where it is usable.
        versions: of its libraries.
        devices: kinds of devices that it finds.
    """

    usable: bool
    why: str | None = None
    versions: dict[str, str] | None = None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """What was found.

    Attributes:
        system: Python, operating system, processor, cores.
        threads: environment variables that bound the threads of the libraries; None where one is not set.
        backends: by name.
        libraries: versions of the core's libraries, None for one that is missing.
        optional: version of each optional library, None where it is not installed, and what it is for.
    """

    system: dict[str, Any]
    threads: dict[str, str | None]
    backends: dict[str, BackendHealth]
    libraries: dict[str, str | None]
    optional: dict[str, tuple[str | None, str]]

    @property
    def usable(self) -> bool:
        """Whether anything can be fitted."""
        return any(backend.usable for backend in self.backends.values())

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON data."""
        optional = {name: {"version": found, "for": purpose} for name, (found, purpose) in self.optional.items()}
        return {**asdict(self), "optional": optional, "usable": self.usable}

    def text(self) -> str:
        """The facts for a reader: what is there, then what is missing."""
        lines = [f"dgmppl {self.system['dgmppl']}, Python {self.system['python']}, {self.system['system']}"]
        lines.append(f"{self.system['cores']} cores; " + _listed(self.threads, absent="not set"))
        lines += ["", "Backends"]
        for name, backend in self.backends.items():
            lines += _backend_lines(name, backend)
        lines += ["", "Libraries", *_wrapped(_listed(self.libraries, absent="missing"))]
        lines += ["", "Optional"]
        for name, (found, purpose) in self.optional.items():
            lines.append(f"  {name} {found}: {purpose}" if found else f"  no {name}: pip install {name} for {purpose}")
        if not self.usable:
            lines += ["", "No backend is usable: pip install 'dgmppl[numpyro]', or 'dgmppl[pyro]'"]
        return "\n".join(lines)


def examine() -> Health:
    """Look at this installation; imports each backend's libraries."""
    from dgmppl import __version__

    system = {
        "dgmppl": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
    }
    return Health(
        system,
        {name: os.environ.get(name) for name in THREADS},
        {name: _backend(name) for name in sorted({*OWN, *available()})},
        {name: _version(name) for name in CORE},
        {name: (_version(name), purpose) for name, purpose in OPTIONAL.items()},
    )


def _backend(name: str) -> BackendHealth:
    try:
        backend = load(name)
        return BackendHealth(True, None, backend.versions(), backend.devices())
    except DgmpplError as error:
        return BackendHealth(False, str(error))
    except Exception as error:  # a broken installation of torch or JAX can fail in any way; it is a fact to report
        return BackendHealth(False, f"{type(error).__name__}: {error}".splitlines()[0])


def _cores() -> int:
    """Cores that this process may use."""
    usable: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _backend_lines(name: str, backend: BackendHealth) -> list[str]:
    if not backend.usable:
        return [f"  {name}: not usable", *_wrapped(backend.why or "", "    ")]
    devices = ", ".join(backend.devices)
    return [f"  {name}: ready on {devices}", *_wrapped(_listed(backend.versions or {}), "    ")]


def _listed(entries: dict[str, str | None] | dict[str, str], absent: str = "") -> str:
    return ", ".join(f"{name} {value if value is not None else absent}" for name, value in entries.items())


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    import textwrap

    return textwrap.wrap(text, 80, initial_indent=indent, subsequent_indent=indent)
