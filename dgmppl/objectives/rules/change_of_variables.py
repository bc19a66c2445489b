"""The density of a bijection's image.

x = f(z): log p(x) = log p_z(f^-1(x)) + log |det J_{f^-1}(x)| (Rezende and Mohamed 2015, eq. 5; Papamakarios et al.
2021, eq. 3). Base and image are one random variable, so the base is substituted, not integrated.
"""

from __future__ import annotations

from dgmppl.ir.densities import Pushforward
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.capabilities import abilities, continuous_time, directions_of
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict


def _applies(program: Program, site: Site) -> Verdict:
    density = site.density
    if not isinstance(density, Pushforward):
        return Verdict(False, "it is not the image of a variable under a bijection")
    if continuous_time(program, density.bijector):
        return Verdict(False, f"{density.bijector} is a flow in continuous time")
    if not abilities(program, site).scored:
        one_way = directions_of(program, density.bijector)["forward" if density.inverse else "inverse"] == "none"
        reason = f"{density.bijector} has no inverse" if one_way else f"its base {density.base} has no density"
        return Verdict(False, reason)
    return Verdict(True, f"it is the image of {density.base} under the bijection {density.bijector}")


RULE = Expansion(
    name="change_of_variables",
    mathematics="log p(x) = log p(f⁻¹(x)) + log |det ∂f⁻¹/∂x|",
    reference="Rezende and Mohamed 2015, eq. 5; Papamakarios et al. 2021, eq. 3",
    level="exact",
    predicate=_applies,
)
