"""A latent with an unnormalized density inside a bound: the bound up to log Z, and a contrastive gradient.

d/dphi E_q[log p(z)] = -E_q[dE] + E_p[dE]: the first phase on the guide's draws, the second on the prior's own sampler
(Pang et al. 2020, eq. 9). It is the gradient of the whole unnormalized density, its base included.
"""

from __future__ import annotations

from dgmppl.objectives.rules.rule import Target
from dgmppl.objectives.rules.unnormalized import RULE as UNNORMALIZED
from dgmppl.objectives.state import State, Verdict


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    variable = structure.variables[name]
    if name not in structure.guided:
        return Verdict(False, "it is not under a guide")
    energy = UNNORMALIZED.predicate(structure.program, variable.site)
    if not energy.applies:
        return Verdict(False, energy.why)
    latent = [parent for parent in variable.given if parent in structure.unknown]
    if latent:
        return Verdict(
            False, f"its log Z depends on the latent {latent[0]}; write one joint `({name}, {latent[0]}): Energy(...)`"
        )
    return Verdict(True, "the latent's density is known up to log Z: the bound lacks it, its gradient is contrastive")


RULE = Target(
    name="unnormalized_prior",
    mathematics="∇ E_q[log p(z)] = E_p[∇E] − E_q[∇E]",
    reference="Pang, Han, Nijkamp, Zhu and Wu 2020, eq. 9",
    predicate=_applies,
)
