"""The rules, one file each: mathematics, reference, predicate, rewrite.

A rule is added by writing its file and its line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from dgmppl.objectives.rules import (
    chain_rule,
    change_of_variables,
    diffusion_bound,
    energy_marginal,
    enumerate,
    forward_algorithm,
    gaussian_marginal,
    implicit_data,
    implicit_latent,
    instantaneous_change_of_variables,
    joint,
    normalized,
    parameter_prior,
    partition_function,
    trained,
    unnormalized,
    unnormalized_data,
    unnormalized_prior,
    variational,
)
from dgmppl.objectives.rules.rule import Elimination, Expansion, Rule, Target

_T = TypeVar("_T", Expansion, Elimination, Target)


def _table(*rules: _T) -> Mapping[str, _T]:
    return {rule.name: rule for rule in rules}


EXPANSIONS: Mapping[str, Expansion] = _table(
    normalized.RULE,
    chain_rule.RULE,
    change_of_variables.RULE,
    instantaneous_change_of_variables.RULE,
    partition_function.RULE,
    unnormalized.RULE,
    diffusion_bound.RULE,
    trained.RULE,
)

# In the order in which they are tried.
EXACT: Mapping[str, Elimination] = _table(
    energy_marginal.RULE,
    gaussian_marginal.RULE,
    forward_algorithm.RULE,
    enumerate.RULE,
)

INEXACT: Mapping[str, Elimination] = _table(
    joint.RULE,
    variational.RULE,
    implicit_latent.RULE,
)

TARGETS: Mapping[str, Target] = _table(
    unnormalized_data.RULE,
    unnormalized_prior.RULE,
    implicit_data.RULE,
    parameter_prior.RULE,
)

RULES: Mapping[str, Rule] = {**EXPANSIONS, **EXACT, **INEXACT, **TARGETS}
