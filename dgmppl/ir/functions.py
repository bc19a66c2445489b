"""The closed table of functions that expressions may call: how shape and support of the result follow.

Shapes are those of one datum; batch axes are the compiler's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from dgmppl.ir.types import NONNEGATIVE, POSITIVE, REAL, UNIT, Support


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    Attributes:
        name: as written.
        rule: the shape rule: `elementwise` (operands broadcast), `reduction` (whole datum, or `axis=`), `cumulative`,
            `kernel` (the Gram matrix of all points), or `structural` (a rule of its own, named like the function).
        parameters: positional names, in order; the last may be starred.
        image: the support of the result where the function alone decides it; None where it follows the operands'.
        monotone: 1 or -1 where it is strictly monotone in its only operand, else 0.
        degree: `linear` if affine in every tensor operand, else `nonlinear`; what the polynomial analysis reads.
        doc: the mathematics.
    """

    name: str
    rule: str
    parameters: tuple[str, ...]
    image: Support | None = REAL
    monotone: int = 0
    degree: str = "nonlinear"
    doc: str = ""


def _elementwise(name: str, image: Support | None, doc: str, monotone: int = 0) -> Function:
    return Function(name, "elementwise", ("x",), image, monotone, doc=doc)


_INTERVAL = Support("interval", low=-1.0, high=1.0)

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        _elementwise("exp", POSITIVE, "e^x", 1),
        _elementwise("expm1", REAL, "e^x - 1", 1),
        _elementwise("log", REAL, "natural logarithm", 1),
        _elementwise("log1p", REAL, "log(1 + x)", 1),
        _elementwise("sqrt", None, "square root", 1),
        _elementwise("square", NONNEGATIVE, "x^2"),
        _elementwise("abs", NONNEGATIVE, "|x|"),
        _elementwise("sign", _INTERVAL, "-1, 0 or 1"),
        _elementwise("sin", _INTERVAL, "sine"),
        _elementwise("cos", _INTERVAL, "cosine"),
        _elementwise("sigmoid", UNIT, "1 / (1 + e^-x)", 1),
        _elementwise("logit", REAL, "log(x / (1 - x))", 1),
        _elementwise("softplus", POSITIVE, "log(1 + e^x)", 1),
        _elementwise("tanh", _INTERVAL, "hyperbolic tangent", 1),
        _elementwise("relu", NONNEGATIVE, "max(x, 0)"),
        _elementwise("lgamma", REAL, "log Gamma(x)"),
        _elementwise("erf", _INTERVAL, "error function", 1),
        Function("maximum", "elementwise", ("x", "y"), None, doc="larger of the two"),
        Function("minimum", "elementwise", ("x", "y"), None, doc="smaller of the two"),
        Function("clip", "elementwise", ("x", "low", "high"), None, doc="x forced into [low, high]"),
        Function("where", "elementwise", ("condition", "x", "y"), None, degree="linear",
            doc="x where the condition holds, else y"),
        Function("softmax", "cumulative", ("x", "axis"), Support("simplex"), doc="e^x_k / sum_j e^x_j"),
        Function("log_softmax", "cumulative", ("x", "axis"), REAL, doc="x - logsumexp(x)"),
        Function("cumsum", "cumulative", ("x", "axis"), REAL, degree="linear", doc="running sums"),
        Function("sum", "reduction", ("x", "axis"), None, degree="linear", doc="sum"),
        Function("mean", "reduction", ("x", "axis"), None, degree="linear", doc="mean"),
        Function("prod", "reduction", ("x", "axis"), None, doc="product"),
        Function("max", "reduction", ("x", "axis"), None, doc="maximum"),
        Function("min", "reduction", ("x", "axis"), None, doc="minimum"),
        Function("logsumexp", "reduction", ("x", "axis"), REAL, doc="log sum e^x"),
        Function("dot", "structural", ("x", "y"), REAL, degree="linear", doc="sum_i x_i y_i over the last axis"),
        Function("concat", "structural", ("*parts", "axis"), None, degree="linear",
            doc="joined along an axis (the first)"),
        Function("stack", "structural", ("*parts", "axis"), None, degree="linear",
            doc="joined along a new axis (the first)"),
        Function("reshape", "structural", ("x", "*shape"), None, degree="linear",
            doc="the same elements in another shape"),
        Function("transpose", "structural", ("x",), None, degree="linear", doc="the last two axes swapped"),
        Function("diag", "structural", ("x",), None, degree="linear", doc="a diagonal matrix"),
        Function("one_hot", "structural", ("x", "size"), UNIT, doc="indicator vector of an integer"),
        Function("eye", "structural", ("size",), NONNEGATIVE, doc="identity matrix"),
        Function("ones", "structural", ("*shape",), POSITIVE, doc="all ones"),
        Function("zeros", "structural", ("*shape",), NONNEGATIVE, doc="all zeros"),
        Function("arange", "structural", ("size",), NONNEGATIVE, doc="0, 1, ..., size - 1"),
        Function("checked", "structural", ("x", "support"), None, degree="linear",
            doc="x, asserted to lie in a support"),
        Function("observed", "structural", ("x",), Support("binary"), doc="1 where a datum is present, else 0"),
        Function("inverse", "structural", ("bijector",), None, doc="a bijector run backwards"),
        Function(
            "ode_solve", "structural", ("rate", "start", "times", "rtol", "atol"), None,
            doc="path of dx/dt = rate(x), x(times[0]) = start, at the times",
        ),
        Function("rbf", "kernel", ("x", "lengthscale"), POSITIVE,
            doc="kernel exp(-sum_d (x_d - x'_d)^2 / (2 lengthscale_d^2))"),
    )
}  # fmt: skip
