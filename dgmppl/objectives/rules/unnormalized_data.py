"""Data under a density known up to its normalizer: no likelihood, but its gradient or its score.

Real support: denoising score matching (Vincent 2011, eq. 9) minimizes the Fisher divergence of the smoothed data.
Discrete support: contrastive divergence (Hinton 2002). With a normalized noise site: noise-contrastive estimation
(Gutmann and Hyvarinen 2012, eq. 8).
"""

from __future__ import annotations

from dgmppl.objectives.rules.rule import Target
from dgmppl.objectives.rules.unnormalized import RULE as UNNORMALIZED
from dgmppl.objectives.state import State, Verdict


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    variable = structure.variables[name]
    if name not in structure.observed_names:
        return Verdict(False, "it is not observed")
    energy = UNNORMALIZED.predicate(structure.program, variable.site)
    if not energy.applies:
        return Verdict(False, energy.why)
    latent = [parent for parent in variable.given if parent in structure.unknown]
    if latent:
        return Verdict(
            False, f"its log Z depends on the latent {latent[0]}; write one joint `({name}, {latent[0]}): Energy(...)`"
        )
    return Verdict(True, "its density is known up to log Z alone")


RULE = Target(
    name="unnormalized_data",
    mathematics="½ E‖∇ log p(x̃) + (x̃ − x)/σ²‖², or E_p[∇E] − E_data[∇E]",
    reference="Vincent 2011, eq. 9; Hinton 2002; Gutmann and Hyvärinen 2012, eq. 8",
    predicate=_applies,
)
