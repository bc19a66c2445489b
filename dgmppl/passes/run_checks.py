"""Whether a finished run fits where it stands: data and what it is given are as they were when it was trained."""

from __future__ import annotations

from collections.abc import Mapping

from dgmppl.ir.data import Column
from dgmppl.ir.densities import TrainedDensity
from dgmppl.ir.program import Program
from dgmppl.ir.types import TensorType
from dgmppl.passes.problems import Problems
from dgmppl.passes.shapes import show
from dgmppl.source import Span


def mismatch(
    problems: Problems,
    density: TrainedDensity,
    message: str,
    *,
    expected: str | None = None,
    found: str | None = None,
    fix: str | None = None,
) -> None:
    """Record that a run was trained with something else than what stands here."""
    problems.add("run-mismatch", message, density.span, expected=expected, found=found, fix=fix)


def check_data(
    program: Program, run: Program, names: Mapping[str, str], density: TrainedDensity, problems: Problems
) -> None:
    """Data here that the run knows must mean the same: their shape, their transforms, the codes of their labels.

    Args:
        program: the one that the run stands in.
        run: the run's.
        names: name in the run -> name in the program.
        density: how the run is named.
        problems: what does not fit.
    """
    for old, new in names.items():
        here, site = program.columns.get(new), run.by_name.get(old)
        if here is None or site is None:
            continue
        if here.shape != site.typed.shape:
            found, expected = show(here.shape), show(site.typed.shape)
            message = f"the run {density.run!r} was trained with another {old!r}"
            mismatch(problems, density, message, expected=expected, found=found)
        elif old in run.columns:
            _check_column(here, run.columns[old], density, problems, level=old in run.levels)


def _check_column(here: Column, there: Column, density: TrainedDensity, problems: Problems, *, level: bool) -> None:
    if here.transforms != there.transforms:
        mismatch(
            problems,
            density,
            f"the run {density.run!r} was trained on {there.name!r} in other units",
            expected=_units(there),
            found=_units(here),
            fix="use the run's own source, split and transforms: constants are fitted to its training rows",
        )
    elif (level or here.coded or there.coded) and here.levels != there.levels:
        mismatch(problems, density, f"the run {density.run!r} was trained on other labels of {there.name!r}")


def _units(column: Column) -> str:
    return ", ".join(transform.name for transform in column.transforms) or "no transform"


def check_runs(program: Program) -> None:
    """Whether what a typed program gives its finished runs has the type that they were trained with.

    Raises:
        SpecError: another shape or another support, with the line that names the run.
    """
    problems = Problems()
    for inlined in program.runs:
        for name, there in inlined.types.items():
            site = program.by_name.get(name)
            if site is not None and site.type is not None:
                _check_type(inlined.run, inlined.span, name, (site.type, there), problems)
    problems.raise_if_any()


def _check_type(
    run: str, span: Span | None, name: str, types: tuple[TensorType, TensorType], problems: Problems
) -> None:
    here, there = types
    if here.shape != there.shape:
        expected, found = show(there.shape), show(here.shape)
    elif not here.support.within(there.support):
        expected, found = f"values in `{there.support}`", f"values in `{here.support}`"
    else:
        return
    problems.add(
        "run-mismatch",
        f"the run {run!r} was trained with another {name!r}",
        span,
        expected=expected,
        found=found,
        fix=f"fit {run!r} again with this {name!r}, or make the two agree",
    )
