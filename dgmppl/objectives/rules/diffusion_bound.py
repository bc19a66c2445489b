"""The variational bound of a diffusion.

log p(x) >= -KL(q(x_T | x) || p(x_T)) - sum_t E KL(q(x_{t-1} | x_t, x) || p(x_{t-1} | x_t)) + E log p(x | x_1)
(Ho, Jain and Abbeel 2020, eq. 5; Kingma et al. 2021, eq. 11).
"""

from __future__ import annotations

from dgmppl.ir.densities import DiffusionChain
from dgmppl.ir.diffusions import learns_schedule
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict


def _applies(program: Program, site: Site) -> Verdict:
    del program
    if not isinstance(site.density, DiffusionChain):
        return Verdict(False, "it is not a diffusion")
    steps = site.density.steps
    time = "continuous time" if steps is None else f"{steps} steps"
    process = "noising process, whose schedule is learned" if learns_schedule(site.density) else "fixed noising process"
    return Verdict(True, f"it is a diffusion of {time}, whose path is integrated by its {process}")


RULE = Expansion(
    name="diffusion_bound",
    mathematics="log p(x) ≥ E[log p(x | x₁)] − ∑ₜ KL(q(xₜ₋₁ | xₜ, x) ‖ p(xₜ₋₁ | xₜ)) − KL(q(x_T | x) ‖ p(x_T))",
    reference="Ho, Jain and Abbeel 2020, eq. 5; Kingma, Salimans, Poole and Ho 2021, eq. 11",
    level="bound",
    predicate=_applies,
)
