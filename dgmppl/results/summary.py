"""A posterior in a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dgmppl.backend import Draws
from dgmppl.ir.program import Program
from dgmppl.results.labels import Rows, parameter_axes

_MOST_LINES = 24
_CHAINS = 2


def lines(program: Program, draws: Draws | None, data: Rows | None = None) -> Iterator[str]:
    """Mean, standard deviation and, for chains, R-hat of each scalar; the first ones of a long posterior.

    Args:
        program: the typed program.
        draws: of its posterior; nothing is said of None.
        data: the rows that latents of their own and missing entries are named after.
    """
    if draws is None:
        return
    rows = list(_rows(program, draws, data))
    width = max((len(name) for name, _ in rows), default=0)
    yield f"{'':<{width}}  {'mean':>9}  {'sd':>9}" + (f"  {'R-hat':>6}" if _has_chains(draws) else "")
    for name, numbers in rows[:_MOST_LINES]:
        yield f"{name:<{width}}  {numbers}"
    if len(rows) > _MOST_LINES:
        yield f"... and {len(rows) - _MOST_LINES} more, in posterior.nc"


def _rows(program: Program, draws: Draws, data: Rows | None) -> Iterator[tuple[str, str]]:
    for name, values in draws.posterior.items():
        axes = parameter_axes(program, name, values.shape[2:], data)
        for index in np.ndindex(*values.shape[2:]):
            chosen = values[(slice(None), slice(None), *index)]
            labels = [str(axis.labels[place]) for axis, place in zip(axes, index, strict=True)]
            hat = f"  {split_r_hat(chosen):>6.3f}" if _has_chains(draws) else ""
            yield (
                name + (f"[{', '.join(labels)}]" if labels else ""),
                f"{chosen.mean():>9.3f}  {chosen.std():>9.3f}{hat}",
            )


def _has_chains(draws: Draws) -> bool:
    shapes = [values.shape for values in draws.posterior.values()]
    return draws.log_q is None and all(shape[0] >= _CHAINS and shape[1] >= 4 for shape in shapes)


def split_r_hat(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Potential scale reduction of split chains, `[chain, draw]` (Gelman et al. 2013); NaN without variance."""
    half = values.shape[1] // 2
    chains = np.concatenate([values[:, :half], values[:, half : 2 * half]]).astype(np.float64)
    within = chains.var(axis=1, ddof=1).mean()
    between = chains.mean(axis=1).var(ddof=1)
    return float(np.sqrt((half - 1) / half + between / within)) if within > 0 else float("nan")
