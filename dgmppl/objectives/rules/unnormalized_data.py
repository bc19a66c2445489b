"""Data under a density known up to its normalizer: no likelihood, but its gradient or its score.

Real support: denoising score matching (Vincent 2011) minimizes the Fisher divergence of the smoothed data.
Discrete support: contrastive divergence (Hinton 2002). With a normalized noise site: noise-contrastive estimation
(Gutmann and Hyvarinen 2012, section 2).
"""

from __future__ import annotations

from dgmppl.objectives.rules.rule import Target
from dgmppl.objectives.rules.unnormalized import constant_normalizer
from dgmppl.objectives.state import State, Verdict


def _applies(state: State, name: str) -> Verdict:
    if name not in state.structure.observed_names:
        return Verdict(False, "it is not observed")
    why = "its density is known up to log Z alone"
    return constant_normalizer(state, name, why)


RULE = Target(
    name="unnormalized_data",
    mathematics="½ E‖∇ log p(x̃) + (x̃ − x)/σ²‖², or E_p[∇E] − E_data[∇E]",
    reference="Song and Kingma 2021",
    predicate=_applies,
)
