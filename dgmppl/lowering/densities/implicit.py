"""Functions of noise that have samples and no density: x = f(inputs)."""

from __future__ import annotations

from dgmppl.ir.densities import Implicit
from dgmppl.ir.program import Role
from dgmppl.lowering.densities.forms import Variable, draw_from, draw_site
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import Lowered
from dgmppl.lowering.scope import Scope


@draw_from.register
def _draw(density: Implicit, scope: Scope, variable: Variable) -> Lowered:
    """The function's value at its drawn inputs; auxiliary noise that a guide reads is drawn here."""
    if variable.section == "guide":
        _draw_auxiliaries(scope, density.inputs)
    return lower_expression(scope, density.function)


def _draw_auxiliaries(scope: Scope, names: tuple[str, ...]) -> None:
    """Binds the guide's sites among some names and their parents, as far as they have no value yet."""
    for name in names:
        site = scope.program.guide_by_name.get(name)
        if site is None or scope.bound(name):
            continue
        _draw_auxiliaries(scope, site.parents)
        if site.role is Role.GUIDE:
            draw_site(scope, site)
