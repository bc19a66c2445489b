"""Parameter groups: what is learned or has a prior, under canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from dgmppl.ir.densities import Learned
from dgmppl.ir.kernel import Group
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.types import POSITIVE, Support


@dataclass(frozen=True, slots=True)
class Always:
    """A start value that no seed changes."""

    value: NDArray[Any]

    def __call__(self, seed: int) -> NDArray[Any]:
        """The value."""
        del seed
        return self.value


def groups_of(program: Program) -> dict[str, Group]:
    """Every parameter group by name, in the order of the spec: networks, bijectors, parameters, guide."""
    groups: dict[str, Group] = {}
    for network in program.networks.values():
        groups[network.name] = Group(network.name, "network", network.parameters)
    for bijector in program.bijectors.values():
        if bijector.event is not None:
            groups[bijector.name] = Group(bijector.name, "bijector", bijector.parameters)
    for site in (*program.sites, *program.guide):
        if site.role in (Role.LEARNED, Role.PARAMETER):
            groups[site.name] = _site_group(program, site)
    return groups


def held(program: Program, groups: Mapping[str, Group]) -> dict[str, Group]:
    """The groups, those that finished runs brought along held at the runs' values."""
    return {name: _frozen(program, group) if name in program.frozen_groups else group for name, group in groups.items()}


def _frozen(program: Program, group: Group) -> Group:
    return replace(
        group,
        parameters=tuple(
            replace(spec, init=replace(spec.init, draw=Always(program.frozen[spec.name])), trainable=False)
            for spec in group.parameters
        ),
        frozen=True,
    )


def _site_group(program: Program, site: Site) -> Group:
    kind = site.typed
    shape = (len(program.levels[site.level]), *kind.shape) if site.level else kind.shape
    start = _start(site.density) if isinstance(site.density, Learned) else within(kind.support)
    parameter = ParameterSpec(site.name, site.name, shape, start, kind.support)
    return Group(
        site.name, "learned" if site.role is Role.LEARNED else "prior", (parameter,), kind.support, levels=site.level
    )


def _start(density: Learned) -> Initializer:
    """Where a learned parameter starts, in constrained space."""
    match density.kind:
        case "normal":
            return Initializer("normal", density.value)
        case "zeros":
            return Initializer("constant", 0.0)
        case "ones" | "positive":
            return Initializer("constant", 1.0)
        case "simplex":
            return Initializer("constant", 1.0 / density.shape[-1])
        case "ordered":
            return Initializer("ordered")
        case "orthogonal" | "cholesky":
            return Initializer("eye")
        case _:
            return Initializer("constant", density.value)


def within(support: Support) -> Initializer:
    """Where a parameter with a prior starts: at a point inside its support, whatever its prior."""
    if support.kind in {"ordered", "positive_ordered"}:
        return Initializer("ordered", 2.0 if support.kind == "positive_ordered" else 0.0)
    return Initializer("constant", inside(support))


def inside(support: Support) -> float:
    """A point well inside a support, from which MAP and variational posteriors start."""
    if support.within(POSITIVE):
        return 1.0
    if support.kind in {"unit", "simplex"}:
        return 0.5 if support.size is None else 1.0 / support.size
    if support.kind == "interval" and support.low is not None and support.high is not None:
        return (support.low + support.high) / 2
    if support.kind == "interval" and (support.low is not None or support.high is not None):
        return support.low + 1.0 if support.low is not None else (support.high or 0.0) - 1.0
    return 0.0
