"""Data under a model that has samples but no density: a divergence is estimated by a critic.

sup_T E_data[T] - E_model[f*(T)] <= D_f(data || model) (Nguyen, Wainwright and Jordan 2010, lemma 1; Nowozin et al.
2016, eq. 4); for the Wasserstein distance the Kantorovich dual (Arjovsky et al. 2017, eq. 2). A critic on a tuple with
latents compares p_data(x) q(z | x) with p(z) p(x | z) (Donahue et al. 2017; Dumoulin et al. 2017).
"""

from __future__ import annotations

from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.requests import requests
from dgmppl.objectives.rules.rule import Target
from dgmppl.objectives.state import State, Verdict
from dgmppl.objectives.structure import Structure


def implicit(structure: Structure, name: str) -> bool:
    """Whether a variable's density can be sampled but not evaluated, not even up to a constant."""
    able = abilities(structure.program, structure.variables[name].site)
    return not (able.scored or Ability.LOG_PROB_UNNORMALIZED in able)


def jointly(structure: Structure, name: str) -> tuple[str, ...]:
    """The observed variables that share a latent with an implicit one, itself included: implicit jointly."""
    latent = latents_of(structure, name)
    return tuple(
        other
        for other in structure.variables
        if other in structure.observed_names and (other == name or latent & latents_of(structure, other))
    )


def latents_of(structure: Structure, name: str) -> frozenset[str]:
    """The unknown variables that a variable descends from."""
    found: set[str] = set()
    pending = [name]
    while pending:
        for parent in structure.variables[pending.pop()].given:
            if parent in structure.unknown and parent not in found:
                found.add(parent)
                pending.append(parent)
    return frozenset(found)


def compared(structure: Structure) -> bool:
    """Whether the model is trained by its samples alone: critics of data compare them, and nothing asks for a guide."""
    program, asked = structure.program, requests(structure.program.objective)
    read = {structure.name_of(name) for critic in program.critics for name in critic.reads}
    by_samples = all(term.call.function == "adversarial" and term.word("source") == "prior" for term in asked)
    return bool(asked) and by_samples and not program.guide and read <= structure.observed_names


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    if name not in structure.observed_names:
        return Verdict(False, "it is not observed")
    if not implicit(structure, name):
        return Verdict(False, "its density can be evaluated")
    together = jointly(structure, name)
    key = name if len(together) == 1 else f"({', '.join(together)})"
    for critic in structure.program.critics:
        if set(together) <= {structure.name_of(read) for read in critic.reads}:
            return Verdict(
                True, f"{name} is a function of noise, so it has samples but no density, and a critic reads {key}"
            )
    context = [parent for parent in structure.variables[name].given if parent not in structure.unknown]
    advice = f"`{key}: CRITIC({', '.join((*together, *context))})`"
    return Verdict(False, f"no critic compares its samples with the data; add to `critics`: {advice}")


RULE = Target(
    name="implicit_data",
    mathematics="sup_T E_data[T(x)] − E_model[f*(T(x))] ≤ D_f(p_data ‖ p)",
    reference="Nguyen, Wainwright and Jordan 2010, lemma 1; Nowozin, Cseke and Tomioka 2016, eq. 4",
    predicate=_applies,
)
