"""Memory: mapped files are looked at in parts, shards are held once, and a loader reads once."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmppl.data import Loader, describe, load, sources
from dgmppl.data.mapped import _PIECE
from dgmppl.runs.receipt import data_hash
from dgmppl.spec.syntax import DataDeclaration, Option

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
    values = np.random.default_rng(0).normal(scale=100, size=(ROWS, WIDTH)).astype(dtype)
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


@pytest.mark.parametrize("split", [None, {"test": 0.25}])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_rows_that_are_widened_or_split_off_stay_in_the_file(tmp_path: Path, dtype: str, split: Option) -> None:
    values = written(tmp_path / "x.npy", dtype)
    declared = [DataDeclaration("x", "file", "x.npy", base=str(tmp_path), options=(("split", split),) if split else ())]
    held, data = peak(lambda: load(declared, seed=0))
    assert held < 0.1 * values.size * 8
    for part in data.parts.values():
        rows, expected = part.arrays["x"], values[part.indices]
        wide = np.dtype("int64" if dtype == "int16" else "float64")
        assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == (expected.shape, 2, wide, len(expected))
        assert (rows.size, rows.nbytes) == (expected.size, expected.size * 8)
        held, batch = peak(lambda rows=rows: rows[np.array([5, 3, 3])])
        np.testing.assert_array_equal(batch, expected[[5, 3, 3]])
        assert (held < 0.01 * values.nbytes, batch.dtype) == (True, wide)
        np.testing.assert_array_equal(rows[7], expected[7])
        np.testing.assert_array_equal(rows[2:9:3], expected[2:9:3])
        np.testing.assert_array_equal(part.raw["x"][::100], expected[::100])


def test_all_rows_of_a_file_are_converted_piece_by_piece(tmp_path: Path) -> None:
    values = written(tmp_path / "x.npy", "float32")
    rows = load(columns("x.npy", tmp_path), seed=0).train.arrays["x"]
    for dtype in (np.float64, np.float32):
        held, whole = peak(lambda dtype=dtype: np.asarray(rows, dtype=dtype))
        assert (whole.dtype, held < whole.nbytes + 3 * _PIECE) == (dtype, True)
        np.testing.assert_array_equal(whole, values.astype(dtype))
    with pytest.raises(ValueError, match="copied"):
        np.asarray(rows, copy=False)


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (70, 3, 2)])
def test_a_hash_read_in_pieces_is_that_of_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.asfortranarray(np.random.default_rng(0).normal(size=shape))
    whole = np.ascontiguousarray(values)
    known = hashlib.sha256(f"x {whole.dtype.str} {whole.shape}\n".encode() + whole.tobytes()).hexdigest()
    monkeypatch.setattr("dgmppl.data.mapped._PIECE", 100)
    assert data_hash({"x": values}) == known


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
