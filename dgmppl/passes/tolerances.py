"""Differential equations: tolerances against the rounding of the numbers that they are solved in, times in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dgmppl.ir.expressions import Call, Expression, walk
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.program import Program
from dgmppl.passes.constants import constant
from dgmppl.passes.learned import as_number
from dgmppl.passes.problems import Problems
from dgmppl.passes.rhs import expressions
from dgmppl.source import Span

# A step's error estimate is a sum of half a dozen rounded terms; matrix products alone run in bfloat16.
_ROUNDINGS = 5
_EPS = {"float32": 2.0**-23, "float64": 2.0**-52, "bfloat16": 2.0**-23}


def check_tolerances(program: Program, problems: Problems) -> None:
    """Report each adaptive solver whose relative tolerance no step of it can meet: its steps would shrink to nothing.

    Args:
        program: the program, its precision that of `train`.
        problems: where the reports go.
    """
    precision = program.train.precision
    least = _ROUNDINGS * _EPS[precision]
    for rtol, span in (*_of_bijectors(program), *_of_calls(program)):
        if rtol < least:
            problems.add(
                "tolerance-below-rounding",
                f"an equation is to be solved to a relative tolerance of {rtol:g}, and {precision} rounds to "
                f"{_EPS[precision]:.2g}",
                span,
                expected=f"rtol of {least:.1g} or more",
                found=f"rtol={rtol:g}",
                fix="write `rtol=1e-5`" + ("" if precision == "float64" else ", or add `train: {precision: float64}`"),
            )


def _of_bijectors(program: Program) -> Iterator[tuple[float, Span | None]]:
    for bijector in program.bijectors.values():
        for step in bijector.walk():
            if "rtol" in step.options and step.options["solver"] != "rk4":
                yield float(str(step.options["rtol"])), step.span


def _of_calls(program: Program) -> Iterator[tuple[float, Span | None]]:
    for call, given in _solutions(program):
        number = as_number(given["rtol"]) if "rtol" in given else None
        if number is not None:
            yield number, call.span


def _solutions(program: Program) -> Iterator[tuple[Call, Mapping[str, Expression]]]:
    """The calls of `ode_solve`, each with its arguments by name."""
    densities = (site.density for site in (*program.sites, *program.guide) if site.density is not None)
    for node in (part for density in densities for whole in expressions(density) for part in walk(whole)):
        if isinstance(node, Call) and node.function == "ode_solve":
            names = FUNCTIONS[node.function].parameters
            yield node, dict(zip(names, node.arguments, strict=False)) | dict(node.keywords)


def check_times(program: Program, problems: Problems) -> None:
    """Report times that neither rise nor fall, where they are written out: a path runs through them in their order.

    Args:
        program: the program.
        problems: where the reports go.
    """
    for _, given in _solutions(program):
        times = constant(given["times"]) if "times" in given else None
        steps = np.zeros(0) if times is None or times.ndim != 1 else np.diff(times)
        if (steps > 0).any() and (steps < 0).any():
            problems.add(
                "times-out-of-order", "an equation is solved through its times in their order, and they turn back",
                given["times"].span, expected="times that rise, or fall", fix="sort them, and pick what is wanted",
            )  # fmt: skip
