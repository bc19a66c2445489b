"""Lints: what compiles, and is probably not meant. Each check reads the structure of a typed program.

Batch statistics are no concern here: the language's normalizations are by layer and by group, within one datum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dgmppl.ir.program import Program
from dgmppl.passes.lints.diffusions import ends_in_noise
from dgmppl.passes.lints.likelihoods import bounded_logits, collapsing_scales, discrete_as_continuous, exp_of_positive
from dgmppl.passes.lints.objectives import bounded_critics, spline_bounds, weights_of_bounds
from dgmppl.passes.lints.unused import dead_sites, unused_names
from dgmppl.passes.problems import place
from dgmppl.source import Diagnostic

Check = Callable[[Program], Iterator[Diagnostic]]

CHECKS: tuple[Check, ...] = (
    unused_names, dead_sites, collapsing_scales, discrete_as_continuous, bounded_logits, exp_of_positive,
    weights_of_bounds, bounded_critics, spline_bounds, ends_in_noise,
)  # fmt: skip


def lint(program: Program) -> list[Diagnostic]:
    """Every warning about a typed program, in the order of their places."""
    return sorted((warning for check in CHECKS for warning in check(program)), key=place)
