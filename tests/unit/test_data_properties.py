"""Properties of text tables and transforms that hold for all inputs, found wanting by random ones."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dgmppl.data.contents import Arrays, FileError, Table
from dgmppl.data.encoding import encode
from dgmppl.data.files import read_file
from dgmppl.data.text_tables import NULLS, is_number
from dgmppl.ir import transforms as ir
from dgmppl.results.tables import to_text

REALS = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-9)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
LABELS = WORDS.filter(lambda word: word == word.strip() and word not in NULLS and not is_number(word))


def reread(text: str, ending: str) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{ending}"
        path.write_bytes(text.encode())
        content = read_file(path)
    assert isinstance(content, Table)
    return content


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), LABELS),
             min_size=1, max_size=6),
    st.sampled_from([(",", ".csv"), ("\t", ".tsv")]),
)  # fmt: skip
def test_text_tables_come_back_exactly(rows: list[tuple[float, int, str]], form: tuple[str, str]) -> None:
    reals, whole, labels = (list(column) for column in zip(*rows, strict=True))
    table = {"reals": np.array(reals), "whole": np.array(whole), "labels": np.array(labels, dtype=object)}
    found = reread(to_text(table, form[0]), form[1])
    np.testing.assert_array_equal(found.columns["reals"], reals)
    assert [int(value) for value in found.columns["whole"]] == whole
    assert found.columns["labels"].tolist() == labels


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([".csv", ".tsv", ".npy", ".npz"]))
def test_any_bytes_are_read_or_diagnosed(content: bytes, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{ending}"
        path.write_bytes(content)
        with suppress(FileError):
            assert isinstance(read_file(path), Table | Arrays)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.integers(0, 16)))
def test_integers_come_back_exactly_through_every_chain(x: np.ndarray) -> None:
    noise = np.random.default_rng(0)
    shape = x.shape[1:]
    chains = (
        (ir.Flatten(shape), ir.Dequantize(17)),
        (ir.Dequantize(17), ir.Logit(1e-3), ir.Flatten(shape)),
        (ir.Dequantize(17), ir.Standardize(np.asarray(0.5), np.asarray(0.3)), ir.Flatten(shape)),
        (ir.OneHot(17),),
    )  # fmt: skip
    for chain in chains:
        y = ir.forward(chain, x, noise)
        np.testing.assert_array_equal(ir.inverse(chain, y), x)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float64, (3, 2), elements=REALS),
    st.floats(0.01, 100.0), st.floats(-100.0, 100.0), st.floats(1e-6, 0.4),
)  # fmt: skip
def test_reals_come_back_and_slopes_are_derivatives(x: np.ndarray, scale: float, loc: float, alpha: float) -> None:
    affine = ir.Standardize(np.asarray(loc), np.asarray(scale))
    tolerance = 1e-12 * (np.abs(x).max() + abs(loc) + 1.0)
    np.testing.assert_allclose(affine.inverse(affine.forward(x)), x, rtol=1e-12, atol=tolerance)
    inside = 1.0 / (1.0 + np.exp(-np.clip(x, -5.0, 5.0)))
    logit = ir.Logit(alpha)
    np.testing.assert_allclose(logit.inverse(logit.forward(inside)), inside, rtol=1e-9)
    # Both slopes at once, against central differences: step 1e-5 of values of order 1 leaves an error below 1e-6.
    chain = (logit, affine)
    step = 1e-5
    difference = (ir.forward(chain, inside + step) - ir.forward(chain, inside - step)) / (2 * step)
    expected = np.log(difference).sum(axis=1)
    np.testing.assert_allclose(ir.log_abs_det(chain, ir.forward(chain, inside)), expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.bool_, (4, 3)), st.data())
def test_missing_elements_do_not_count(mask: np.ndarray, data: st.DataObject) -> None:
    x = data.draw(arrays.arrays(np.float64, (4, 3), elements=st.floats(0.05, 0.95)))
    for chain in ((ir.Logit(1e-3),), (ir.Flatten((3,)), ir.Standardize(np.asarray(0.1), np.array([0.5, 2.0, 3.0])))):
        y = np.where(mask, ir.forward(chain, x), 0.0)
        alone = [
            sum(float(chain[-1].log_slope(x)[row, place]) for place in range(3) if mask[row, place]) for row in range(4)
        ]
        np.testing.assert_allclose(ir.log_abs_det(chain, y, mask), alone, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.int64]), st.integers(1, 8),
                     elements={"min_value": 0, "max_value": 100}))  # fmt: skip
def test_encoding_keeps_every_value(x: np.ndarray) -> None:
    values = encode(x, narrow=True)
    np.testing.assert_array_equal(values.array, x)
    assert values.observed is None
    assert (values.array.dtype.kind == "f") == bool((x != np.floor(x)).any())
