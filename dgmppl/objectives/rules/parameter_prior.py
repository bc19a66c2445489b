"""Parameters with priors: the target is their posterior, p(theta | x) proportional to p(x | theta) p(theta).

Gelman et al. 2013, eq. 1.1; with NUTS (Hoffman and Gelman 2014), Laplace's method (Tierney and Kadane 1986), stochastic
variational inference (Hoffman et al. 2013; Kucukelbir et al. 2017) or its mode.
"""

from __future__ import annotations

from dgmppl.objectives.rules.rule import Target
from dgmppl.objectives.state import State, Verdict
from dgmppl.objectives.structure import random_parameters


def _applies(state: State, name: str) -> Verdict:
    program = state.structure.program
    if name not in random_parameters(program):
        return Verdict(False, "it has no prior")
    what = "every weight of the network has a prior" if name in program.networks else "it has a prior"
    return Verdict(True, f"{what}, so the target is the posterior")


RULE = Target(
    name="parameter_prior",
    mathematics="log p(θ | x) = log p(x | θ) + log p(θ) − log p(x)",
    reference="Gelman et al. 2013, eq. 1.1; Hoffman and Gelman 2014; Kucukelbir et al. 2017",
    predicate=_applies,
)
