"""Memory: mapped files are looked at in parts, shards are held once, and a loader reads once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmppl.data import Loader, describe, load, sources
from dgmppl.spec.syntax import DataDeclaration

ROWS, WIDTH = 20_000, 256


def peak(step: Callable[[], Any]) -> tuple[int, Any]:
    """The most memory that NumPy and Python held at once during a step, in bytes; mapped files are not held."""
    tracemalloc.start()
    try:
        result = step()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def written(path: Path, dtype: str) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(dtype)
    np.save(path, values)
    return values


def columns(name: str, folder: Path) -> list[DataDeclaration]:
    return [DataDeclaration("x", "file", name, base=str(folder))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mapped_file_is_described_without_being_held(tmp_path: Path, dtype: str) -> None:
    values = written(tmp_path / "x.npy", dtype)
    held, schema = peak(lambda: describe(columns("x.npy", tmp_path)))
    assert held < 0.1 * values.nbytes
    assert schema["x"].lowest.value == values.min()
    assert schema["x"].highest.value == values.max()


def test_rows_that_need_no_conversion_stay_in_the_file(tmp_path: Path) -> None:
    values = written(tmp_path / "x.npy", "float64")
    held, data = peak(lambda: load(columns("x.npy", tmp_path), seed=0))
    assert held < 0.1 * values.nbytes
    np.testing.assert_array_equal(data.train.arrays["x"][::1000], values[::1000])


def test_conversion_holds_one_copy(tmp_path: Path) -> None:
    values = written(tmp_path / "x.npy", "float32")
    held, data = peak(lambda: load(columns("x.npy", tmp_path), seed=0))
    copy = data.train.arrays["x"].nbytes
    assert (copy, data.train.arrays["x"].dtype) == (2 * values.nbytes, np.float64)
    assert held < 1.1 * copy


def test_shards_are_held_once(tmp_path: Path) -> None:
    values = written(tmp_path / "all.npy", "float64")
    for place, part in enumerate(np.array_split(values, 4)):
        np.save(tmp_path / f"part-{place}.npy", part)
    held, data = peak(lambda: load(columns("part-*.npy", tmp_path), seed=0))
    assert held < 1.1 * values.nbytes
    np.testing.assert_array_equal(data.train.arrays["x"][::1000], values[::1000])


def test_a_loader_reads_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", np.array([0.5, 1.5]))
    seen: list[Path] = []
    read = sources.read_files
    monkeypatch.setattr(sources, "read_files", lambda path: (seen.append(path), read(path))[1])
    loader = Loader(columns("x.npy", tmp_path))
    assert loader.schema["x"].shape == ()
    assert loader.load(seed=0).train.arrays["x"].tolist() == [0.5, 1.5]
    assert loader.load(seed=1).schema is loader.schema
    assert len(seen) == 1
