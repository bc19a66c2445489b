"""Generators that specs may declare, beside the divergence of the table that each is, where it is one."""

from __future__ import annotations

from dgmppl.ir.expressions import Call, Expression
from dgmppl.objectives.divergences import F_DIVERGENCES, FDivergence, alpha_divergence
from dgmppl.objectives.generators import declared
from dgmppl.source import Source, Span
from dgmppl.spec.expression import parse

# f(u) as a spec writes it -> the same divergence of the table; None where the table has none.
GENERATORS: dict[str, FDivergence | None] = {
    "u * log(u)": F_DIVERGENCES["kl"],
    "-log(u)": F_DIVERGENCES["reverse_kl"],
    "0.5 * u * log(u) - 0.5 * (u + 1) * log((1 + u) / 2)": F_DIVERGENCES["js"],
    "square(u - 1)": F_DIVERGENCES["pearson"],
    "(sqrt(u) - 1) ** 2": F_DIVERGENCES["hellinger"],
    "(u ** 2.5 - 2.5 * u + 1.5) / 3.75": alpha_divergence(2.5),
    # Neyman's chi-squared, triangular discrimination, the sum of both KLs, and one that is nobody's.
    "square(1 - u) / u": None,
    "square(u - 1) / (u + 1)": None,
    "(u - 1) * log(u)": None,
    "softplus(u - 1) - 0.5 * u + 0.5 - log(2)": None,
}


def parsed(text: str) -> Expression:
    """A generator as the reader gives it."""
    return parse(text, Span(Source("<generator>", text), 1, 1, 1, len(text) + 1))


def divergence_of(text: str) -> tuple[FDivergence, Expression]:
    """What `f(text)` declares."""
    return declared(Call("f", (parsed(text),)))
