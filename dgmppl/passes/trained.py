"""`Trained(...)`: a finished run becomes a part of the program that it stands in, with its parameters frozen.

Of the run's program the sites that bear on the site are taken, up to those that it is given, with the networks,
bijectors and functions that they read. They stand in the program under names of their own (`x.decoder`, where `x` is
the site), as if they had been written there, so that every rule, guide and backend treats them like any other; that
their parameters have values, and no owner, is all that tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.ir.densities import TrainedDensity
from dgmppl.ir.diffusions import learned_parts
from dgmppl.ir.graphs import reachable
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.trained import Inlined
from dgmppl.passes.problems import Problems
from dgmppl.passes.rhs import is_random
from dgmppl.passes.run_checks import check_data, mismatch
from dgmppl.passes.taking import DRAWN, Taking


@dataclass(frozen=True)
class FinishedRun:
    """A finished run as the compiler reads it.

    Attributes:
        folder: where it stands, from the root.
        sha256: of its resolved spec, its columns and its parameters.
        program: typed, its guide complete.
        parameters: constrained, by canonical name.
    """

    folder: str
    sha256: str
    program: Program
    parameters: Mapping[str, NDArray[Any]]


Find: TypeAlias = Callable[[TrainedDensity], FinishedRun | None]


def inline(program: Program, find: Find) -> Program:
    """The program with every finished run in it taken apart; one that is not there stays as it is.

    Args:
        program: resolved, not yet typed.
        find: the run that a density names; None where there is none.

    Raises:
        SpecError: a run that cannot be used, or does not fit; with the line that names it.
    """
    problems = Problems()
    for site in (*program.sites, *program.guide):
        if not isinstance(site.density, TrainedDensity):
            continue
        if site.section == "parameters":
            _shared(site, site.density, problems)
        elif (run := find(site.density)) is not None:
            program = _inlined(program, site, site.density, run, problems)
        problems.raise_if_any()
    return program


def _shared(site: Site, density: TrainedDensity, problems: Problems) -> None:
    problems.add(
        "unusable-run",
        f"{site.name!r} is shared by all data, and a run is the distribution of one datum",
        density.span,
        expected="`Trained(...)` in `model` or `guide`",
        fix=f"move the line of {site.name!r} to `model`",
    )


def _inlined(program: Program, site: Site, density: TrainedDensity, run: FinishedRun, problems: Problems) -> Program:
    """The program with one run in the place of its name; as it was where that does not fit."""
    target = _target(site, density, run.program, problems)
    given = None if target is None else _given(density, target, run.program, problems)
    if target is None or given is None:
        return program
    taking = Taking(program, site, density, run.program, problems, {**given, target.name: site.name})
    taking.take(target)
    if not taking.guides:
        taking.take_guide()
    check_data(program, run.program, taking.names, density, problems)
    return program if problems.found else _joined(taking, run)


# ---- what the run is asked for --------------------------------------------------------------------------------------


def _target(site: Site, density: TrainedDensity, of: Program, problems: Problems) -> Site | None:
    """The site of the run whose distribution is meant: that of the same name, else the only one that can be."""
    guide = site.section == "guide"
    known = of.guide_by_name if guide else of.by_name
    candidates = [one for one in (of.guide if guide else of.observed) if _drawn(one)]
    found = known.get(site.name)
    if found is not None and _drawn(found):
        return found
    if len(candidates) == 1:
        return candidates[0]
    what = "its guide draws" if guide else "it is a model of"
    mismatch(
        problems,
        density,
        f"the run {density.run!r} has no {site.name!r}",
        expected=f"a name of what {what}: {', '.join(one.name for one in candidates) or 'nothing'}",
        found=site.name,
    )
    return None


def _drawn(site: Site) -> bool:
    return site.role in DRAWN | {Role.GUIDE} and site.density is not None and is_random(site.density)


def _given(density: TrainedDensity, target: Site, of: Program, problems: Problems) -> dict[str, str] | None:
    """Name in the run -> what is given for it: by name, or where only one is left on both sides."""
    given = {name: name for name in density.given if name in of.by_name and name != target.name}
    conditions = _conditions(target, of)
    loose = [name for name in density.given if name not in given]
    left = [name for name in conditions if name not in given]
    if loose and not len(loose) == len(left) == 1:
        mismatch(
            problems,
            density,
            f"{target.name!r} of the run {density.run!r} is not conditioned on {loose[0]!r}",
            expected=", ".join(conditions) or "nothing is given",
            found=", ".join(density.given),
            fix="name what is given as the run names it",
        )
        return None
    return given | dict(zip(left, loose, strict=False))


def _conditions(target: Site, of: Program) -> tuple[str, ...]:
    """What a site of the run depends on and can be given: its drawn ancestors and its data."""
    known = {**of.guide_by_name, **of.by_name}
    behind = reachable(
        target.parents, lambda name: known[name].parents if name in known and name != target.name else ()
    )
    roles = DRAWN | {Role.COVARIATE}
    return tuple(site.name for site in of.sites if site.name in behind and site.role in roles and site is not target)


# ---- the whole ------------------------------------------------------------------------------------------------------


def _joined(taking: Taking, run: FinishedRun) -> Program:
    program = taking.program
    return replace(
        program,
        sites=tuple(_in_order(taking)),
        guide=_guide(taking),
        networks={**program.networks, **taking.networks},
        bijectors={**program.bijectors, **taking.bijectors},
        functions={**program.functions, **taking.functions},
        levels={**program.levels, **_levels(taking)},
        runs=(*program.runs, _record(taking, run)),
        frozen={**program.frozen, **_frozen(taking, run)},
    )


def _in_order(taking: Taking) -> Iterator[Site]:
    """The program's sites: learned parameters before its model, the others where the site stands, or last."""
    order = (*taking.of.sites, *taking.of.guide)
    taken = [taking.sites[name] for name in dict.fromkeys(site.name for site in order) if name in taking.sites]
    fixed = [site for site in taken if site.section == "parameters"]
    drawn = [site for site in taken if site.section != "parameters"]
    for site in taking.program.sites:
        if fixed and site.section == "model":
            yield from fixed
            fixed = []
        if not taking.guides and site.name == taking.site.name:
            yield from drawn
        else:
            yield site
    if taking.guides:
        yield from drawn


def _guide(taking: Taking) -> tuple[Site, ...]:
    """The guide: the run's part in the place of its name, or, where it came along, after what is declared."""
    taken = [taking.guide[site.name] for site in taking.of.guide if site.name in taking.guide]
    declared = taking.program.guide
    if not taking.guides:
        return (*declared, *taken)
    place = [site.name for site in declared].index(taking.site.name)
    return (*declared[:place], *taken, *declared[place + 1 :])


def _levels(taking: Taking) -> dict[str, tuple[str, ...]]:
    used = {site.level for site in taking.sites.values()} - {None}
    return {taking.names[name]: labels for name, labels in taking.of.levels.items() if taking.names.get(name) in used}


def _record(taking: Taking, run: FinishedRun) -> Inlined:
    known = {**taking.of.guide_by_name, **taking.of.by_name}
    taken = (*taking.sites.values(), *taking.guide.values())
    learned = {site.name for site in taken if site.role is Role.LEARNED}
    inside = {part.name for site in taken for part in learned_parts(site)}
    return Inlined(
        site=taking.site.name,
        section=taking.site.section,
        run=taking.density.run,
        folder=run.folder,
        sha256=run.sha256,
        types={new: known[old].typed for old, new in taking.names.items() if old in known},
        groups=frozenset({*taking.networks, *taking.bijectors, *learned, *inside}),
        guide=() if taking.guides else tuple(site.name for site in taking.guide.values()),
        span=taking.density.span,
    )


def _frozen(taking: Taking, run: FinishedRun) -> dict[str, NDArray[Any]]:
    """The run's values of what has been taken, under the program's canonical names."""
    found: dict[str, NDArray[Any]] = {}
    for name, value in run.parameters.items():
        parts = name.split(".")
        owners = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        owner = next((one for one in owners if one in taking.names), None)
        if owner is not None:
            found[taking.names[owner] + name[len(owner) :]] = np.asarray(value)
    return found
