"""The chain rule of probability over the elements of an event, or over time.

log p(x) = sum_i log p(x_i | x_<i). All conditionals are evaluated in one parallel pass, because a causal network's
i-th output reads x_<i alone (Germain et al. 2015, section 3; van den Oord et al. 2016, eq. 1); for a Markov chain the
conditional reads the last lags.
"""

from __future__ import annotations

from dgmppl.ir.analyses import sources
from dgmppl.ir.densities import Factorized, MarkovChain
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict


def _applies(program: Program, site: Site) -> Verdict:
    match site.density:
        case Factorized(network=network):
            form = f"each element is conditioned on those before it through the causal network {network}"
        case MarkovChain(lag=0) if site.name in sources(program, frozenset(site.parents)):
            form = "each step is conditioned on those before it, through what it reads"
        case MarkovChain(lag=0):
            form = "its steps are independent given the chain that it reads"
        case MarkovChain(lag=lag):
            form = (
                f"each step is conditioned on the last {lag}" if lag > 1 else "each step is conditioned on the last one"
            )
        case _:
            return Verdict(False, "it is not factorized over its elements")
    known = Ability.LOG_PROB in abilities(program, site)
    return Verdict(known, form if known else "a conditional of the factorization has no density")


RULE = Expansion(
    name="chain_rule",
    mathematics="log p(x) = ∑ᵢ log p(xᵢ | x₍<ᵢ₎)",
    reference="Bengio and Bengio 2000; Germain et al. 2015, section 3; Hamilton 1994, chapter 5",
    level="exact",
    predicate=_applies,
)
