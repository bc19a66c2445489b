"""A latent with an unnormalized density inside a bound: the bound up to log Z, and a contrastive gradient.

d/dphi E_q[log p(z)] = -E_q[dE] + E_p[dE]: the first phase on the guide's draws, the second on the prior's own sampler
(Pang et al. 2020). It is the gradient of the whole unnormalized density, its base included.
"""

from __future__ import annotations

from dgmppl.objectives.rules.rule import Target
from dgmppl.objectives.rules.unnormalized import constant_normalizer
from dgmppl.objectives.state import State, Verdict


def _applies(state: State, name: str) -> Verdict:
    if name not in state.structure.guided:
        return Verdict(False, "it is not under a guide")
    why = "the latent's density is known up to log Z: the bound lacks it, its gradient is contrastive"
    return constant_normalizer(state, name, why)


RULE = Target(
    name="unnormalized_prior",
    mathematics="∇ E_q[log p(z)] = E_p[∇E] − E_q[∇E]",
    reference="Pang, Han, Nijkamp, Zhu and Wu 2020",
    predicate=_applies,
)
