"""Transforms: inverses, log-determinants against numerical differentiation, fitting, and storage."""

import numpy as np
import pytest

from dgmppl.data.encoding import encode
from dgmppl.data.transforms import _FITTERS, apply, fit
from dgmppl.data.values import Values
from dgmppl.errors import InternalError, SpecError
from dgmppl.ir import transforms as ir
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.types import BINARY, REAL, UNIT, integer
from dgmppl.spec.syntax import DataDeclaration

ROWS = np.random.default_rng(0).uniform(0.05, 0.95, (6, 3))

CONTINUOUS = {
    "unit": ir.Unit(np.asarray(-1.0), np.asarray(4.0)),
    "standardize_feature": ir.Standardize(np.array([0.1, 0.2, 0.3]), np.array([2.0, 0.5, 1.5])),
    "standardize_all": ir.Standardize(np.asarray(0.4), np.asarray(0.3), "all"),
    "logit": ir.Logit(1e-3),
    "flatten": ir.Flatten((3,)),
}
EVERY = {
    **CONTINUOUS,
    "binarize": ir.Binarize(8.0),
    "stochastic_binarize": ir.StochasticBinarize(),
    "dequantize": ir.Dequantize(17),
    "one_hot": ir.OneHot(4),
}


def jacobian_log_det(transform: ir.Transform, row: np.ndarray, step: float = 1e-6) -> float:
    columns = [
        (transform.forward((row + delta)[None])[0] - transform.forward((row - delta)[None])[0]) / (2 * step)
        for delta in step * np.eye(row.size)
    ]
    return float(np.linalg.slogdet(np.stack(columns, axis=-1))[1])


@pytest.mark.parametrize("name", CONTINUOUS)
def test_inverse_undoes_forward(name: str) -> None:
    transform = CONTINUOUS[name]
    np.testing.assert_allclose(transform.inverse(transform.forward(ROWS)), ROWS, rtol=1e-10)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_log_det_is_that_of_the_numerical_jacobian(name: str) -> None:
    transform = CONTINUOUS[name]
    expected = [jacobian_log_det(transform, row) for row in ROWS]
    np.testing.assert_allclose(transform.log_abs_det(ROWS), expected, atol=1e-6)


def test_every_transform_of_the_table_is_tested_and_can_be_fitted() -> None:
    assert {transform.name for transform in EVERY.values()} == set(ir.TRANSFORMS) == set(_FITTERS)


@pytest.mark.parametrize("name", EVERY)
def test_storage_round_trip(name: str) -> None:
    transform = EVERY[name]
    stored = transform.to_dict()
    assert not any(isinstance(value, np.ndarray) for value in stored.values())
    assert ir.from_dict(stored, transform.constants()) == transform


def test_equality_sees_the_constants() -> None:
    assert ir.Standardize(np.array([0.0]), np.array([1.0])) != ir.Standardize(np.array([0.0]), np.array([2.0]))
    assert ir.Logit(0.1) != ir.Logit(0.2)


def test_dequantize_stays_in_its_cell_and_comes_back() -> None:
    x = np.arange(17)[:, None]
    y = ir.Dequantize(17).forward(x, np.random.default_rng(0))
    assert ((y >= 0) & (y < 1)).all()
    assert (np.diff(y[:, 0]) > 0).any()
    np.testing.assert_array_equal(ir.Dequantize(17).inverse(y), x)
    np.testing.assert_allclose(ir.Dequantize(17).log_abs_det(np.zeros((2, 64))), -64 * np.log(17))


def test_chain_log_det_is_the_sum_and_is_read_off_the_output() -> None:
    x = np.random.default_rng(1).integers(0, 17, (5, 2, 2))
    flat, spread, logit = ir.Flatten((2, 2)), ir.Dequantize(17), ir.Logit(1e-2)
    u = spread.forward(flat.forward(x), np.random.default_rng(2))
    y = logit.forward(u)
    expected = -4 * np.log(17) + logit.log_abs_det(u)
    coarse = logit.log_abs_det(np.floor(u * 17) / 17)
    np.testing.assert_allclose(ir.log_abs_det((flat, spread, logit), y), expected, atol=1e-10)
    assert not np.allclose(expected, -4 * np.log(17) + coarse)
    np.testing.assert_array_equal(ir.inverse((flat, spread, logit), y), x)


def test_lossy_transforms_have_no_inverse_and_cut_the_chain() -> None:
    with pytest.raises(InternalError):
        ir.Binarize(0.5).inverse(np.zeros((1, 1)))
    tail = ir.invertible_tail((ir.Unit(np.asarray(0.0), np.asarray(2.0)), ir.Binarize(0.5), ir.Flatten((3,))))
    assert [transform.name for transform in tail] == ["flatten"]


def test_one_hot_mask_and_inverse() -> None:
    y = ir.OneHot(3).forward(np.array([2, 0]))
    np.testing.assert_array_equal(y, [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(ir.OneHot(3).inverse(y), [2, 0])
    np.testing.assert_array_equal(ir.OneHot(3).mask(np.array([True, False])), [[True] * 3, [False] * 3])


def call(name: str, *arguments: object, **keywords: object) -> Call:
    named = tuple((key, Literal(value)) for key, value in keywords.items())  # type: ignore[arg-type]
    return Call(name, tuple(Literal(value) for value in arguments), named)  # type: ignore[arg-type]


def fitted(step: Call, values: Values, rows: list[int] | None = None) -> ir.Transform:
    chosen = np.arange(values.rows) if rows is None else np.asarray(rows)
    return fit(DataDeclaration("x", "inline", None), step, values, chosen, False)[0]


def test_standardize_is_fitted_on_training_rows_alone() -> None:
    values = encode(np.array([[0.0, 10.0], [2.0, 30.0], [1000.5, -1e6]]))
    transform = fitted(call("standardize"), values, [0, 1])
    np.testing.assert_allclose(transform.constants()["loc"], [1.0, 20.0])
    np.testing.assert_allclose(transform.constants()["scale"], [1.0, 10.0])
    whole = fitted(call("standardize", per="all"), values, [0, 1])
    assert float(whole.constants()["loc"]) == pytest.approx(10.5)


def test_standardize_skips_missing_entries_and_leaves_constants_unscaled() -> None:
    values = encode(np.array([[1.0, 5.0], [np.nan, 5.0], [3.5, 5.0]]))
    transform, warnings = fit(DataDeclaration("x", "inline", None), call("standardize"), values, np.arange(3), False)
    np.testing.assert_allclose(transform.constants()["loc"], [2.25, 5.0])
    np.testing.assert_allclose(transform.constants()["scale"], [1.25, 1.0])
    assert [(item.code, item.severity) for item in warnings] == [("data-constant", "warning")]


def test_unit_uses_declared_bounds_else_those_of_the_training_rows() -> None:
    declared = Values(np.array([[3], [16]]), support=integer(17))
    assert float(fitted(call("unit"), declared).constants()["scale"]) == 16.0
    values = encode(np.array([2.5, np.nan, 4.5, -100.0, 1e6]))
    trained = fitted(call("unit"), values, [0, 1, 2])
    np.testing.assert_allclose(trained.forward(np.array([2.5, 4.5, 6.5])), [0.0, 1.0, 2.0])
    # What the transform says of its values holds for all rows.
    assert apply(trained, values, None).support == REAL
    assert apply(fitted(call("unit"), values), values, None).support == UNIT


def test_unit_may_leave_rows_outside_that_are_not_trained_on() -> None:
    chain = (call("unit"), call("logit", 1e-6))
    declaration = DataDeclaration("x", "inline", None, transform=chain)
    values = encode(np.array([0.5, 2.5, 9.5]))
    mapped = apply(fit(declaration, chain[0], values, np.arange(2), False)[0], values, None)
    with pytest.raises(SpecError) as caught:
        fit(declaration, chain[1], mapped, np.arange(2), False)
    (problem,) = caught.value.diagnostics
    assert (problem.code, problem.found) == ("data-transform-input", "4.5 in row 3")
    assert "a range that holds all rows" in str(problem.fix)


def test_one_hot_vectors_are_not_coded_again() -> None:
    chain = (call("one_hot"), call("flatten"), call("one_hot"))
    declaration = DataDeclaration("x", "inline", None, transform=chain)
    values = Values(np.array([0, 1]), support=BINARY)
    assert fit(declaration, chain[0], values, np.arange(2), False)[0] == ir.OneHot(2)
    with pytest.raises(SpecError, match=r"an earlier one_hot\(\) has made unit vectors of them"):
        fit(declaration, chain[2], values, np.arange(2), False)


@pytest.mark.parametrize(
    ("step", "support", "expected"),
    [
        (call("binarize", 8), integer(17), BINARY),
        (call("dequantize", 17), integer(17), UNIT),
        (call("standardize"), integer(17), REAL),
        (call("flatten"), integer(17), integer(17)),
        (call("one_hot"), integer(17), BINARY),
        (call("unit"), integer(17), UNIT),
    ],
)
def test_supports_after_transforms(step: Call, support: object, expected: object) -> None:
    values = Values(np.arange(17), support=support)  # type: ignore[arg-type]
    assert fitted(step, values).support_out(values.support) == expected


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (call("binarise", 8), "data-transform"),
        (call("binarize"), "data-transform"),
        (call("binarize", 1, 2), "data-transform"),
        (call("binarize", 1, t=2), "data-transform"),
        (call("dequantize", 1), "data-transform"),
        (call("logit", 0.5), "data-transform"),
        (call("standardize", per="row"), "data-transform"),
        (call("dequantize", 4), "data-transform-input"),
        (call("stochastic_binarize"), "data-transform-input"),
        (call("logit", 0.1), "data-transform-input"),
    ],
)
def test_refused_transforms(step: Call, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        fitted(step, encode(np.array([0.0, 3.0, 9.0])))
    assert [item.code for item in caught.value.diagnostics] == [code]


def test_a_misspelt_transform_names_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"did you mean binarize\(t\)\?"):
        fitted(call("binarise", 8), encode(np.array([0.0, 3.0])))
