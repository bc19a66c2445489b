"""The functions of objective expressions: each turns a request into the players' shares.

A function is added by writing it and its line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dgmppl.objectives.contributions import Share
from dgmppl.objectives.requests import Request
from dgmppl.objectives.state import State
from dgmppl.objectives.terms.adversarial import adversarial
from dgmppl.objectives.terms.energies import (
    contrastive_divergence,
    noise_contrastive,
)
from dgmppl.objectives.terms.likelihoods import elbo, iwae, mle, supervise, vlb
from dgmppl.objectives.terms.scores import (
    denoising_score_matching,
    explicit_score_matching,
    implicit_score_matching,
    sliced_score_matching,
)
from dgmppl.objectives.terms.transport import flow_matching

TERMS: Mapping[str, Callable[[State, Request], Share]] = {
    "mle": mle,
    "elbo": elbo,
    "iwae": iwae,
    "vlb": vlb,
    "supervise": supervise,
    "denoising_score_matching": denoising_score_matching,
    "sliced_score_matching": sliced_score_matching,
    "implicit_score_matching": implicit_score_matching,
    "explicit_score_matching": explicit_score_matching,
    "contrastive_divergence": contrastive_divergence,
    "noise_contrastive": noise_contrastive,
    "adversarial": adversarial,
    "flow_matching": flow_matching,
}
