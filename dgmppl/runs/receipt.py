"""What a run was: versions, device, seeds, hashes of spec and data, wall time."""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgmppl.data.mapped import pieces

_LIBRARIES = ("dgmppl", "numpy", "scipy", "arviz", "safetensors")


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file's content; None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def program_hash(source: str) -> str:
    """SHA-256 of an emitted program without its heading, which names the file that the spec was read from."""
    tree = ast.parse(source)
    heading = tree.body[0].end_lineno if tree.body and ast.get_docstring(tree) is not None else 0
    return text_hash("\n".join(source.splitlines()[heading:]))


def data_hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, element types, shapes and values, independent of the order of the columns."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name] if arrays[name].ndim else np.atleast_1d(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for piece in pieces(array):
            digest.update(piece.tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the compiler's own libraries."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, str]:
    """Operating system and processor, for the reader of a receipt."""
    return {"system": platform.system(), "processor": platform.machine(), "byteorder": sys.byteorder}
