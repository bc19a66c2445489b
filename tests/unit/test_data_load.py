"""`load`: splits, masks, levels, transforms of the values themselves, and checks against the model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmppl.data import DataSet, describe, load
from dgmppl.errors import SpecError
from dgmppl.ir import transforms
from dgmppl.spec.reader import read


def loaded(data: dict[str, Any], folder: Path | None = None, *, seed: int = 0, **bindings: Any) -> DataSet:
    declarations = read({"dgmppl": 1, "name": "test", "data": data}).data
    if folder is not None:
        declarations = tuple(replace(declaration, base=str(folder)) for declaration in declarations)
    return load(declarations, bindings, seed=seed)


SPLIT = {
    "x": {
        "dataset": "iris.features",
        "transform": "standardize()",
        "split": {"test": 0.2, "validation": 0.1, "seed": 4},
    }
}


def test_splits_are_disjoint_complete_and_reproducible() -> None:
    data, again = loaded(SPLIT, seed=1), loaded(SPLIT, seed=2)
    rows = [part.indices for part in data.parts.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(150))
    assert {name: part.rows for name, part in data.parts.items()} == {"train": 105, "validation": 15, "test": 30}
    for name, part in data.parts.items():
        np.testing.assert_array_equal(part.indices, again.parts[name].indices)
    other = loaded({"x": {**SPLIT["x"], "split": {"test": 0.2, "seed": 5}}})
    assert other.held_out is not None
    assert data.held_out is not None
    assert not np.array_equal(other.held_out.indices, data.held_out.indices)


def test_columns_share_their_rows_in_every_split() -> None:
    data = loaded({**SPLIT, "y": "iris.target"})
    whole = loaded({"x": "iris.features", "y": "iris.target"}).train
    for part in data.parts.values():
        np.testing.assert_array_equal(part.raw["x"], whole.arrays["x"][part.indices])
        np.testing.assert_array_equal(part.arrays["y"], whole.arrays["y"][part.indices])


def test_standardize_is_exact_on_train_and_only_there() -> None:
    data = loaded(SPLIT)
    assert data.held_out is not None
    np.testing.assert_allclose(data.train.arrays["x"].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.train.arrays["x"].std(axis=0), 1)
    assert np.abs(data.held_out.arrays["x"].mean(axis=0)).max() > 1e-3
    column = data.schema["x"]
    np.testing.assert_allclose(
        transforms.inverse(column.transforms, data.held_out.arrays["x"]), data.held_out.raw["x"], atol=1e-12
    )


def test_missing_entries_are_zero_and_masked() -> None:
    part = loaded({"x": {"values": [1.5, None, 2.5], "transform": "standardize()"}, "y": [1, 2, 3]}).train
    np.testing.assert_array_equal(part.masks["x"], [True, False, True])
    assert part.arrays["x"][1] == 0.0
    assert np.isnan(part.raw["x"][1])
    assert "y" not in part.masks


def test_keep_hides_a_fixed_fraction_whatever_the_run() -> None:
    data = {"y": {"dataset": "digits.target", "keep": 0.1, "split": {"test": 0.1, "seed": 0}}}
    one, two = loaded(data, seed=0), loaded(data, seed=9)
    kept = sum(int(part.masks["y"].sum()) for part in one.parts.values())
    assert kept == round(0.1 * 1797)
    assert one.held_out is not None
    assert 0 < one.held_out.masks["y"].sum() < kept
    np.testing.assert_array_equal(one.train.masks["y"], two.train.masks["y"])
    assert (one.train.arrays["y"][~one.train.masks["y"]] == 0).all()
    assert one.train.raw["y"].max() == 9
    other = loaded({"y": {**data["y"], "seed": 1}})
    assert not np.array_equal(one.train.masks["y"], other.train.masks["y"])


def test_values_per_level_follow_the_sorted_levels(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("county,y\nb,1\na,2\nc,3\nb,4\n")
    (tmp_path / "levels.csv").write_text("county,u\nc,30.5\nd,99\na,10.5\nb,20.5\n")
    data = {
        "y": {"file": "rows.csv", "column": "y"},
        "county": {"file": "rows.csv", "column": "county"},
        "u": {"file": "levels.csv", "column": "u", "per": "county"},
        "v": {"values": [1, 2, 3], "per": "county"},
    }
    found = loaded(data, tmp_path)
    np.testing.assert_array_equal(found.train.arrays["county"], [1, 0, 2, 1])
    np.testing.assert_array_equal(found.train.arrays["u"], [10.5, 20.5, 30.5])
    np.testing.assert_array_equal(found.train.arrays["v"], [1, 2, 3])
    assert found.schema["u"].rows == 3
    (tmp_path / "levels.csv").write_text("county,u\nc,30.5\na,10.5\n")
    with pytest.raises(SpecError, match="none for b"):
        loaded(data, tmp_path)
    (tmp_path / "levels.csv").write_text("county,u\nc,1\na,1\nb,1\na,2\n")
    with pytest.raises(SpecError, match="level `a` has several rows"):
        loaded(data, tmp_path)


def test_codes_of_an_integer_level_index() -> None:
    found = loaded({"g": [10, 2, 9, 2]})
    np.testing.assert_array_equal(found.codes["g"], [2, 0, 1, 0])
    np.testing.assert_array_equal(found.train.arrays["g"], [10, 2, 9, 2])


def test_whole_is_one_row() -> None:
    part = loaded({"y": {"values": [[1.5, 2], [3, 4]], "whole": True, "transform": "standardize()"}}).train
    assert part.arrays["y"].shape == (1, 2, 2)
    np.testing.assert_allclose(part.arrays["y"][0].mean(axis=0), 0, atol=1e-12)


def test_a_separate_test_file(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x,g\n1,b\n3,a\n")
    (tmp_path / "test.csv").write_text("x,g\n100,c\n")
    data = {
        "x": {"file": "train.csv", "column": "x", "test": {"file": "test.csv"}, "transform": "standardize()"},
        "g": {"file": "train.csv", "column": "g", "test": {"file": "test.csv"}},
    }
    found = loaded(data, tmp_path)
    assert found.held_out is not None
    np.testing.assert_allclose(found.train.arrays["x"], [-1, 1])
    np.testing.assert_allclose(found.held_out.arrays["x"], [98])
    assert found.schema["g"].levels == ("a", "b", "c")
    np.testing.assert_array_equal(found.held_out.arrays["g"], [2])
    with pytest.raises(SpecError, match="test rows do not match"):
        loaded({**data, "g": {"file": "train.csv", "column": "g"}}, tmp_path)


def test_expressions_are_computed_row_by_row_after_transforms() -> None:
    part = loaded({
        "x": {"dataset": "digits.images", "transform": "binarize(8)", "split": {"test": 0.1, "seed": 0}},
        "n": "sum(x)", "upper": "x[:4]", "pixel": "x[0, 2]", "above": "n > 20", "rows": "sum(x, axis=1)",
        "z": {"expression": "n / 64", "transform": "standardize()"},
    }).train  # fmt: skip
    x = part.arrays["x"]
    np.testing.assert_array_equal(part.arrays["n"], x.sum(axis=(1, 2)))
    np.testing.assert_array_equal(part.arrays["upper"], x[:, :4])
    np.testing.assert_array_equal(part.arrays["pixel"], x[:, 0, 2])
    np.testing.assert_array_equal(part.arrays["above"], part.arrays["n"] > 20)
    np.testing.assert_array_equal(part.arrays["rows"], x.sum(axis=2))
    assert part.arrays["z"].mean() == pytest.approx(0, abs=1e-12)


def test_observed_is_the_mask() -> None:
    part = loaded({"b": [1.5, None], "has_b": "observed(b)", "c": "b + 1"}).train
    np.testing.assert_array_equal(part.arrays["has_b"], [1, 0])
    np.testing.assert_array_equal(part.arrays["c"], [2.5, 1.0])


def test_noise_follows_the_seed_and_redraw() -> None:
    data = {"x": {"dataset": "digits.images", "transform": "dequantize(17)"}, "s": "sum(x)"}
    one, same, other = (loaded(data, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.train.arrays["x"], same.train.arrays["x"])
    assert not np.array_equal(one.train.arrays["x"], other.train.arrays["x"])
    again = one.redraw(7)
    assert not np.array_equal(one.train.arrays["x"], again.train.arrays["x"])
    np.testing.assert_allclose(again.train.arrays["s"], again.train.arrays["x"].sum(axis=(1, 2)))
    np.testing.assert_array_equal(np.floor(again.train.arrays["x"] * 17), one.train.raw["x"])
    plain = loaded({"x": "iris.features"})
    assert plain.redraw(3) is plain


def test_loading_agrees_with_describing() -> None:
    declarations = read({"dgmppl": 1, "name": "t", "data": SPLIT}).data
    assert load(declarations, seed=5).schema == describe(declarations)


def test_unbound_data_cannot_be_loaded() -> None:
    with pytest.raises(SpecError, match="fit --data x=FILE"):
        loaded({"x": {"shape": [2]}})


def test_narrow_sources_are_wide_for_the_model(tmp_path: Path) -> None:
    """A source of bytes stays one in memory; what the model sees, and arithmetic on the way, does not overflow."""
    images = np.arange(250, 262).reshape(6, 2).clip(0, 255).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=images, w=images.astype(np.float32) / 3)
    file = {"file": "images.npz"}
    data = loaded(
        {
            "x": {**file, "key": "x"}, "b": {**file, "key": "x", "transform": "binarize(252.5)"},
            "u": {**file, "key": "x", "transform": "unit()"}, "s": "x + x", "w": {**file, "key": "w"},
        },
        tmp_path,
    )  # fmt: skip
    found = data.train.arrays
    assert {name: str(array.dtype) for name, array in found.items()} == {
        "x": "int64", "b": "int64", "u": "float64", "s": "int64", "w": "float64",
    }  # fmt: skip
    np.testing.assert_array_equal(found["s"], 2 * images.astype(int))
    np.testing.assert_array_equal(found["b"], images >= 253)
    np.testing.assert_allclose(found["u"], images / 255)
    np.testing.assert_array_equal(found["w"], images.astype(np.float32) / np.float32(3))
    assert {name: column.distinct for name, column in data.schema.items()} == {"x": 6, "b": 2, "u": 6, "s": 6, "w": 6}
    assert str(data.train.raw["x"].dtype) == "int64"
