"""The density of the image of an ordinary differential equation.

dx/dt = f(x, t): log p(x(1)) = log p(x(0)) - integral_0^1 tr(df/dx) dt (Chen et al. 2018, eq. 8); exact to the solver's
tolerance, and unbiased with Hutchinson's estimator of the trace (Grathwohl et al. 2019, section 3.1).
"""

from __future__ import annotations

from dgmppl.ir.densities import Pushforward
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.capabilities import abilities, continuous_time
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict


def _applies(program: Program, site: Site) -> Verdict:
    density = site.density
    if not isinstance(density, Pushforward) or not continuous_time(program, density.bijector):
        return Verdict(False, "it is not the image of a variable under a flow in continuous time")
    if not abilities(program, site).scored:
        return Verdict(False, f"its base {density.base} has no density")
    return Verdict(True, f"it is the solution at t = 1 of an ODE that starts at {density.base}")


RULE = Expansion(
    name="instantaneous_change_of_variables",
    mathematics="log p(x(1)) = log p(x(0)) − ∫₀¹ tr(∂f/∂x) dt",
    reference="Chen, Rubanova, Bettencourt and Duvenaud 2018, eq. 8; Grathwohl et al. 2019, section 3.1",
    level="exact",
    predicate=_applies,
)
