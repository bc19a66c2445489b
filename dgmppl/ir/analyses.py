"""Small pure analyses of a program: what an expression reads, its polynomial degree, what is elementwise in what.

Deterministic sites are looked through everywhere: `h: W @ z` makes whatever reads `h` a function of `z`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from dgmppl.ir.bijectors import Bijector, Step
from dgmppl.ir.densities import (
    Density,
    Deterministic,
    DiffusionChain,
    Elementary,
    Factorized,
    FlatPrior,
    GaussianProcess,
    Implicit,
    Learned,
    MarkovChain,
    MixtureOf,
    Point,
    Pushforward,
    Restricted,
    TrainedDensity,
    Unnormalized,
)
from dgmppl.ir.expressions import (
    Apply,
    Call,
    Expression,
    Index,
    Literal,
    Name,
    Operation,
    Sequence,
    children,
    free_names,
    walk,
)
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.networks import Network
from dgmppl.ir.program import Program, Role, Site

# The degree of whatever is no polynomial of degree two or less.
NONPOLYNOMIAL = 3


def expressions(density: Density | None) -> Iterator[Expression]:
    """Every expression that stands in a density, its parts included, in reading order."""
    match density:
        case None | TrainedDensity() | Learned():
            return
        case Elementary(parameters=parameters):
            yield from (value for _, value in parameters)
        case Restricted(base=base, low=low, high=high):
            yield from expressions(base)
            yield from (bound for bound in (low, high) if bound is not None)
        case MixtureOf(components=components, weights=weights):
            for part in (*components, weights):
                yield from expressions(part)
        case Point(value=value) | Deterministic(expression=value) | Implicit(function=value):
            yield value
        case Pushforward(context=context):
            yield from context
        case Factorized(conditional=conditional):
            yield from expressions(conditional)
        case MarkovChain(initial=initial, transition=transition):
            for part in (*(first for _, first in initial), transition):
                yield from expressions(part)
        case DiffusionChain(context=context, schedule=schedule):
            yield from (*context, schedule)
        case Unnormalized(energy=energy, base=base):
            yield energy
            yield from expressions(base)
        case FlatPrior(low=low, high=high):
            yield from (bound for bound in (low, high) if bound is not None)
        case GaussianProcess(kernel=kernel, noise=noise):
            yield from (kernel, noise)
        case _:
            assert_never(density)


def deterministic(site: Site | None) -> bool:
    """Whether a site is computed, not drawn."""
    return site is not None and site.role is Role.DETERMINISTIC


def sources(program: Program, names: frozenset[str], *, guide: bool = False) -> frozenset[str]:
    """The names with deterministic sites replaced by what these read, recursively.

    Args:
        program: where the names are looked up.
        names: names of sites, networks or indices.
        guide: look names up among the guide's sites first.
    """
    found: set[str] = set()
    pending, seen = list(names), set(names)
    while pending:
        name = pending.pop()
        site = (program.guide_by_name.get(name) if guide else None) or program.by_name.get(name)
        if name in program.functions:
            arguments, body = program.functions[name]
            read = free_names(body) - set(arguments)
        elif site is not None and (deterministic(site) or (guide and helper(program, site))):
            read = frozenset(site.parents).union(*(free_names(part) for part in expressions(site.density)))
        else:
            found.add(name)
            continue
        pending += read - seen
        seen |= read
    return frozenset(found)


def helper(program: Program, site: Site) -> bool:
    """Whether a guide site is a computed value that no site of the model bears the name of."""
    known = program.by_name.get(site.name)
    return site.section == "guide" and isinstance(site.density, (Deterministic, Implicit)) and known is None


def reads(program: Program, expression: Expression) -> frozenset[str]:
    """What an expression depends on: free names, deterministic sites looked through."""
    return sources(program, free_names(expression))


_MULTILINEAR = frozenset({"dot"})
_SQUARES = frozenset({"square"})


def degree(program: Program, expression: Expression, names: frozenset[str]) -> int:
    """The degree of an expression as a polynomial in `names` jointly; `NONPOLYNOMIAL` above two.

    Degree 0 does not depend on them, 1 is affine. What is affine in each of two names and multiplies them has degree 2.
    """
    if not names & reads(program, expression):
        return 0
    parts = [degree(program, part, names) for part in children(expression)]
    match expression:
        case Name(id=name):
            return _degree_of_name(program, name, names)
        case Operation(operator="+" | "-" | "neg") | Sequence():
            return max(parts)
        case Operation(operator="*" | "@"):
            return min(sum(parts), NONPOLYNOMIAL)
        case Operation(operator="/"):
            return parts[0] if parts[1] == 0 else NONPOLYNOMIAL
        case Operation(operator="**", operands=(_, Literal(value=int() as power))) if power > 0:
            return min(parts[0] * power, NONPOLYNOMIAL)
        case Index(items=items):
            inside = max(degree(program, item, names) for item in items)
            return parts[0] if inside == 0 else NONPOLYNOMIAL
        case Call(function=function):
            return _degree_of_call(function, parts)
        case Apply(network=network) if network in program.networks and affine(program.networks[network]):
            return max(parts)
        case _:
            return NONPOLYNOMIAL


def _degree_of_name(program: Program, name: str, names: frozenset[str]) -> int:
    if name in names:
        return 1
    density = program.by_name[name].density if name in program.by_name else None
    match density:
        case Deterministic(expression=body) | MarkovChain(transition=Deterministic(expression=body), initial=(), lag=0):
            return degree(program, body, names)
        case _:
            return NONPOLYNOMIAL


def _degree_of_call(function: str, parts: list[int]) -> int:
    if function in _SQUARES:
        return min(2 * parts[0], NONPOLYNOMIAL)
    if function in _MULTILINEAR:
        return min(sum(parts), NONPOLYNOMIAL)
    if function == "where" and parts[0] > 0:
        return NONPOLYNOMIAL
    known = FUNCTIONS.get(function)
    return max(parts) if known is not None and known.degree == "linear" else NONPOLYNOMIAL


def affine(network: Network) -> bool:
    """Whether a network is an affine map: a perceptron without hidden layers."""
    return not network.options.get("hidden", ()) and network.kind in {"linear", "mlp"}


def elementwise(program: Program, expression: Expression, name: str) -> bool:
    """Whether each element of an expression reads at most the same element of `name`."""
    if name not in reads(program, expression):
        return True
    match expression:
        case Name(id=found):
            site = program.by_name.get(found)
            if found == name or site is None:
                return True
            return isinstance(site.density, Deterministic) and elementwise(program, site.density.expression, name)
        case Operation(operator=operator, operands=operands):
            return operator != "@" and all(elementwise(program, part, name) for part in operands)
        case Call(function=function, arguments=arguments):
            known = FUNCTIONS.get(function)
            pointwise = known is not None and known.rule == "elementwise"
            return pointwise and all(elementwise(program, part, name) for part in arguments)
        case Index(value=value, items=(item,)):
            return name not in reads(program, value) and elementwise(program, item, name)
        case _:
            return False


def bijector_groups(program: Program, name: str) -> frozenset[str]:
    """The parameter groups of a bijector: its own, if it has parameters, and the shared networks in it."""
    bijector = program.bijectors.get(name)
    if bijector is None:
        return frozenset({name})
    shared = {step.network for step in _steps(bijector) if step.network is not None}
    inner = any(
        step.conditioner is not None and step.conditioner.name not in program.networks for step in _steps(bijector)
    )
    own = {name} if bijector.parameters or inner else set()
    return frozenset(shared | own)


def _steps(bijector: Bijector) -> Iterator[Step]:
    for step in bijector.walk():
        yield step
        if step.element is not None:
            yield step.element


def groups(program: Program, density: Density | None) -> frozenset[str]:
    """The parameter groups that a density reads: networks, bijectors and learned parameters.

    Deterministic sites and local functions are looked through; a parameter with a prior is no group of its readers.
    """
    return _groups(program, _direct(density))


def expression_groups(program: Program, expression: Expression) -> frozenset[str]:
    """The parameter groups that an expression reads."""
    return _groups(program, _called(expression))


def _direct(density: Density | None) -> frozenset[str]:
    found = frozenset().union(*(_called(expression) for expression in expressions(density)))
    match density:
        case Pushforward(bijector=bijector):
            return found | {bijector}
        case Factorized(network=network):
            return found | {network}
        case DiffusionChain(denoiser=denoiser):
            return found | {denoiser}
        case _:
            return found


def _called(expression: Expression) -> frozenset[str]:
    return free_names(expression) | {node.function for node in walk(expression) if isinstance(node, Call)}


def _groups(program: Program, names: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    pending, seen = list(names), set(names)
    while pending:
        name = pending.pop()
        site = program.by_name.get(name) or program.guide_by_name.get(name)
        more: frozenset[str] = frozenset()
        if name in program.networks or (site is not None and site.role is Role.LEARNED):
            found.add(name)
        elif name in program.bijectors:
            found |= bijector_groups(program, name)
        elif name in program.functions:
            more = _called(program.functions[name][1])
        elif site is not None and (deterministic(site) or helper(program, site)):
            more = _direct(site.density)
        pending += more - seen
        seen |= more
    return frozenset(found)
