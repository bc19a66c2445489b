"""Linear-Gaussian latents are integrated in closed form.

z ~ N(m, S), x | z ~ N(W z + b, R): p(x) = N(x; W m + b, W S W^T + R) (Bishop 2006, eq. 2.115); in chains the
same recursion over time is the Kalman filter (Kalman 1960). A location must be affine in all latents jointly and a
scale must be free of them; whatever else the densities read is conditioned on, discrete latents included.
"""

from __future__ import annotations

from itertools import pairwise

from dgmppl.ir.analyses import degree
from dgmppl.ir.chains import depths
from dgmppl.ir.densities import Density, Elementary, MarkovChain
from dgmppl.ir.program import Program
from dgmppl.objectives.algebra import LogIntegral
from dgmppl.objectives.closed_forms import GAUSSIAN
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import State, Verdict, total
from dgmppl.objectives.structure import Structure, Variable


def _nonlinear(program: Program, density: Density | None, names: frozenset[str]) -> str | None:
    """Why a density is not linear-Gaussian in `names`; None if it is."""
    match density:
        case Elementary(family=family) if family in GAUSSIAN:
            location = GAUSSIAN[family]
            for parameter, value in density.parameters:
                found = degree(program, value, names)
                if parameter == location and found > 1:
                    return f"its {location} is not affine"
                if parameter != location and found > 0:
                    return f"its {parameter} is not constant"
            return None
        case MarkovChain(initial=initial, transition=transition):
            parts = [_nonlinear(program, part, names) for part in (*(first for _, first in initial), transition)]
            return next((reason for reason in parts if reason is not None), None)
        case _:
            return "it is not Gaussian"


def _candidate(state: State, name: str) -> str | None:
    """Why a latent cannot be part of a Gaussian block on its own account; None if it can."""
    structure = state.structure
    if name in structure.partly_observed:
        return "it is observed in some rows"
    reading = [other for other, variable in structure.guided.items() if name in variable.given]
    if reading:
        return f"the guide of {reading[0]} has it in scope"
    reason = _nonlinear(structure.program, structure.variables[name].site.density, frozenset())
    return None if reason is None else "its prior is not Gaussian"


def _blocked(state: State, names: frozenset[str]) -> dict[str, str]:
    """The members of `names` that some density ties to the rest in another than a linear-Gaussian way, and why."""
    structure = state.structure
    blocked: dict[str, str] = {}
    for variable in structure.variables.values():
        touched = names & ({variable.name} | frozenset(variable.given))
        if not touched:
            continue
        reason = _nonlinear(structure.program, variable.site.density, names) or _entangled(structure, variable, names)
        hidden = variable.name in structure.unknown and variable.name not in names
        if reason is None and not hidden:
            continue
        culprit = (
            "is itself latent and not in the Gaussian block" if hidden else f"is not linear-Gaussian in it: {reason}"
        )
        blocked |= dict.fromkeys(touched, f"{variable.name} {culprit}")
    return blocked


def _entangled(structure: Structure, variable: Variable, names: frozenset[str]) -> str | None:
    """Why a variable ties the steps of chains in `names` together; None where it reads them step by step."""
    inside = structure.ordered(names & {variable.name, *variable.given})
    chains = [name for name in inside if isinstance(structure.variables[name].site.density, MarkovChain)]
    if not chains or depths(structure.program, chains, [variable.name]) is not None:
        return None
    return f"it reads more of {', '.join(chains)} than single steps up to its own"


def _block(state: State) -> tuple[frozenset[str], dict[str, str]]:
    """The largest set of latents that are jointly linear-Gaussian, and why each other one is not in it."""
    unguided = [name for name in state.remaining if name not in state.structure.guided]
    reasons = {name: why for name in unguided if (why := _candidate(state, name)) is not None}
    names = frozenset(unguided) - frozenset(reasons)
    while blocked := _blocked(state, names):
        reasons |= blocked
        names -= frozenset(blocked)
    return names, reasons


def _applies(state: State, name: str) -> Verdict:
    names, reasons = _block(state)
    if name not in names:
        return Verdict(False, reasons.get(name, "a guide is declared for it"))
    if not state.structure.readers(name):
        return Verdict(False, "nothing reads it")
    return Verdict(True, "its prior and everything that reads it are linear-Gaussian in it")


def _component(state: State, name: str) -> tuple[str, ...]:
    """The latents of the block that share a factor with `name`, directly or through others, in generative order."""
    import networkx as nx

    names, _ = _block(state)
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(names)
    for factor in state.factors:
        inside = sorted(factor.scope & names)
        graph.add_edges_from(pairwise(inside))
    together = nx.node_connected_component(graph, name)
    return tuple(other for other in state.structure.unknown if other in together)


def _rewrite(state: State, name: str) -> State:
    names = _component(state, name)
    taken = state.containing(names)
    readers: list[Variable] = [
        variable for variable in state.structure.variables.values() if set(names) & set(variable.given)
    ]
    children = tuple(variable.name for variable in readers if variable.name not in names)
    term = LogIntegral(names, children, total(factor.term for factor in taken))
    return state.eliminate(names, RULE.name, _applies(state, name).why, term)


RULE = Elimination(
    name="gaussian_marginal",
    mathematics="∫ N(z; m, S) N(x; Wz + b, R) dz = N(x; Wm + b, WSWᵀ + R)",
    reference="Bishop 2006, eq. 2.115; Roweis and Ghahramani 1999; Kalman 1960",
    level="exact",
    predicate=_applies,
    rewrite=_rewrite,
)
