"""What a guide must cover, and the why-not report where no rule derives an objective."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dgmppl.errors import NoObjectiveError, SpecError
from dgmppl.ir.analyses import deterministic
from dgmppl.ir.densities import DiffusionChain, MarkovChain, Pushforward, Unnormalized
from dgmppl.ir.diffusions import learns_schedule
from dgmppl.ir.expressions import Call, free_names, text
from dgmppl.ir.graphs import reachable
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import SAMPLERS
from dgmppl.ir.program import Program, Role, Site
from dgmppl.objectives.capabilities import abilities, directions_of
from dgmppl.objectives.expansion import expansion_of
from dgmppl.objectives.rules import EXACT, EXPANSIONS, INEXACT, TARGETS
from dgmppl.objectives.rules.implicit_data import implicit
from dgmppl.objectives.state import State
from dgmppl.objectives.structure import Structure, Variable
from dgmppl.source import Diagnostic


def check(structure: Structure) -> None:
    """Refuses guides that name a variable twice or sample what nothing reads, and models that observe one twice."""
    errors = [*_guided_twice(structure), *_unused(structure), *_observed_twice(structure)]
    errors += _conditioned_on_themselves(structure)
    errors += _latent_normalizer(structure)
    errors += _diffusions(structure)
    if errors:
        raise SpecError(errors)


def _guided_twice(structure: Structure) -> Iterator[Diagnostic]:
    seen: dict[str, Site] = {}
    for site in structure.program.guide:
        if site.name not in structure.program.by_name:
            continue
        name = structure.name_of(site.name)
        if name in seen:
            yield Diagnostic(
                "guide-names-both",
                f"{seen[name].name} and {site.name} are one random variable, and the guide names both",
                site.span,
                fix="keep one of the two: the bijection gives the other",
            )
        seen[name] = site


def _unused(structure: Structure) -> Iterator[Diagnostic]:
    """Auxiliary draws of the guide that no bijector or network of the guide reads."""
    read = {parent for site in structure.program.guide for parent in site.parents}
    read |= {base for variable in structure.guided.values() for base in variable.bases}
    for site in structure.program.guide:
        if site.name not in structure.program.by_name and site.name not in read and site.role is Role.GUIDE:
            yield Diagnostic(
                "guide-auxiliary",
                f"the guide samples {site.name}, which is no latent and which nothing reads",
                site.span,
                expected=", ".join(structure.unknown) or "nothing: the model has no latent",
                fix="name a latent, or read it in a bijector or a network of the guide",
            )


def _observed_twice(structure: Structure) -> Iterator[Diagnostic]:
    """Two observed names of one random variable: the second is a function of the first: no joint density."""
    for name in structure.observed_names:
        chosen = structure.name_of(name)
        if chosen != name and chosen in structure.observed_names:
            yield Diagnostic(
                "observed-twice",
                f"{name} and {chosen} are one random variable under two names, and both are observed",
                structure.program.by_name[name].span,
                fix="observe one of them, or give the other noise of its own",
            )


def _conditioned_on_themselves(structure: Structure) -> Iterator[Diagnostic]:
    """Images under a bijection whose condition depends on what it maps: then it is no bijection of that."""
    for site in (*structure.program.sites, *structure.program.guide):
        if not isinstance(site.density, Pushforward):
            continue
        guide = site.section == "guide"
        bases = structure.variable(site, guide=guide).bases
        for part in site.density.context:
            own = _ancestors(structure.program, free_names(part), guide=guide).intersection(bases)
            if own:
                base = min(own)
                yield Diagnostic(
                    "self-reference",
                    f"{site.name} is the image of {base}, and what the bijection is conditioned on depends on {base}",
                    part.span or site.density.span,
                    expected=f"a condition that does not depend on {base}",
                    found=text(part),
                    fix=f"leave it out, or condition on a draw of its own: `h: Normal(0, 1, shape=4)` beside {base}",
                )


def _ancestors(program: Program, names: Iterable[str], *, guide: bool) -> frozenset[str]:
    """The names, and all that they depend on; the guide reads the model's drawn sites as values that are given."""
    sites = {site.name: site for site in program.sites if not guide or deterministic(site)}
    sites |= program.guide_by_name if guide else {}
    return reachable(names, lambda name: sites[name].parents if name in sites else ())


def _diffusions(structure: Structure) -> Iterator[Diagnostic]:
    """Guidance without a null condition, dropping of no condition, and what has no bound to be learned by."""
    for variable in structure.variables.values():
        density, name = variable.site.density, variable.name
        if not isinstance(density, DiffusionChain):
            continue
        sampler = structure.program.evaluate.get("sampler")
        guided = isinstance(sampler, Call) and bind(sampler, SAMPLERS, "sampler").get("guidance", 1.0) != 1.0
        if guided and sampler is not None and not (density.drop and density.context):
            yield Diagnostic(
                "guidance-without-drop",
                f"guidance needs the prediction of {name!r} without its condition, and training never drops one",
                sampler.span,
                fix=f"condition it and write `drop=0.1` in the `Diffusion` of `{name}`, or leave `guidance` out",
            )
        if density.drop and not density.context:
            yield Diagnostic(
                "drop-without-condition",
                f"`drop` replaces a condition, and the diffusion of {name!r} has none",
                density.span,
                fix="write `Diffusion(denoiser, c, ...)`, or leave `drop` out",
            )
        yield from _learned_noise(density, name)


def _learned_noise(density: DiffusionChain, name: str) -> Iterator[Diagnostic]:
    """A schedule or variances that nothing teaches, and reverse variances where no step has one."""
    reweighted = f"`weighting={density.weighting}` has no bound to learn"
    if learns_schedule(density) and density.weighting != "vlb":
        yield Diagnostic(
            "schedule-needs-vlb",
            f"the schedule of {name!r} is learned, and {reweighted} it by",
            density.schedule.span or density.span,
            fix="write `weighting=vlb`, or a fixed schedule such as `cosine()`",
        )
    if density.variance == "learned" and density.weighting != "vlb":
        yield Diagnostic(
            "variance-needs-vlb",
            f"the reverse variances of {name!r} are learned, and {reweighted} them by",
            density.span,
            fix="write `weighting=vlb`, or `variance=posterior`",
        )
    if density.variance != "posterior" and density.steps is None:
        yield Diagnostic(
            "variance-needs-steps",
            f"the diffusion of {name!r} is in continuous time, where the bound depends on no reverse variance",
            density.span,
            fix=f"give it `steps=1000`, or leave out `variance={density.variance}`",
        )


def _latent_normalizer(structure: Structure) -> Iterator[Diagnostic]:
    for variable in structure.variables.values():
        latent = [name for name in variable.given if name in structure.unknown]
        if isinstance(variable.site.density, Unnormalized) and latent:
            yield Diagnostic(
                "latent-normalizer",
                f"log Z of {variable.name} depends on the latent {latent[0]}, so nothing can train it",
                variable.site.span,
                fix=f"declare one joint density: `({variable.name}, {latent[0]}): Energy(...)`",
            )


# ---- no objective ---------------------------------------------------------------------------------------------------


def no_objective(state: State) -> None:
    """Raises the why-not report if an unknown or a density is left over.

    Raises:
        NoObjectiveError: one diagnostic for each, with every rule and its reason.
        SpecError: a declared guide misses a latent.
    """
    missed = list(_missed(state))
    if missed:
        raise SpecError(missed)
    errors = [*_uncovered(state), *_silent(state)]
    if errors:
        raise NoObjectiveError(errors)


def _missed(state: State) -> Iterator[Diagnostic]:
    """Latents that a declared guide does not cover and that no exact rule removes."""
    structure = state.structure
    needed = [name for name in structure.unknown if name in structure.guided or name in state.remaining]
    for name in state.remaining if structure.guided else ():
        if name in structure.guided:
            continue
        given = ", ".join(sorted(structure.observed_names)) or "x"
        yield Diagnostic(
            "guide-misses",
            f"the guide misses the latent {name}",
            structure.variables[name].site.span,
            expected=f"a guide site for each of {', '.join(needed)}",
            fix=f"add to `guide`: `{name}: Normal(**encoder({given}))`, or leave `guide` out to have it derived",
            notes=_reasons(state, name, tuple(EXACT)),
        )


def _uncovered(state: State) -> Iterator[Diagnostic]:
    """Unknowns that no rule removes."""
    structure = state.structure
    for name in state.remaining:
        variable = structure.variables[name]
        if name in structure.partly_observed:
            message = f"no rule covers the missing entries of {name}, which other sites read"
            discrete = variable.site.typed.support.discrete
            sampled = "" if discrete else ", write `infer: nuts()` with priors on every parameter"
            fix = f"add `{name}` to `guide`{sampled}, or drop the rows"
        else:
            message, fix = f"no rule removes the latent {name}", _advice(state, name)
        yield Diagnostic(
            "no-objective",
            message,
            variable.site.span,
            found=f"{name} can {abilities(structure.program, variable.site).describe()}",
            fix=fix,
            notes=_reasons(state, name, (*EXACT, *INEXACT)),
        )


def _advice(state: State, name: str) -> str:
    structure = state.structure
    given = ", ".join(sorted(structure.observed_names)) or "x"
    if name in structure.guided:
        if structure.implicit_guide(name):
            return f"add to `critics`: `{name}: ratio({', '.join((*structure.guided[name].given, name))})`"
        return f"give q({name}) a density that can be sampled and evaluated, inside the prior's support"
    if structure.variables[name].joint:
        return "write an energy that is affine in all hidden units jointly: no product of two of them"
    if isinstance(structure.variables[name].site.density, MarkovChain):
        return "write `guide: auto(markov)`, or declare its guide with `[0]` and `[t]`"
    return f"declare `guide: {{{name}: Normal(**encoder({given}))}}`, or leave `guide` out to have it derived"


def _reasons(state: State, name: str, rules: tuple[str, ...]) -> tuple[str, ...]:
    """Every rule of the list with its reason for not removing a variable."""
    last = {refusal.rule: refusal.why for refusal in state.refusals if refusal.site == name}
    return tuple(f"{rule}: {last[rule]}" for rule in rules if rule in last)


def _silent(state: State) -> Iterator[Diagnostic]:
    """Observed sites without a density and without a critic."""
    structure = state.structure
    for name, variable in structure.variables.items():
        if name not in structure.observed_names or expansion_of(structure.program, variable.site) is not None:
            continue
        verdict = TARGETS["implicit_data"].predicate(state, name)
        if verdict.applies:
            continue
        rules = [(rule.name, rule.predicate(structure.program, variable.site).why) for rule in EXPANSIONS.values()]
        if implicit(structure, name):
            rules.append(("implicit_data", verdict.why))
        yield Diagnostic(
            "no-objective",
            f"no rule gives {name} a density, and nothing compares its samples with the data",
            variable.site.span,
            found=f"{name} can {abilities(structure.program, variable.site).describe()}",
            fix=_noise(structure, variable, verdict.why.split("; ")[-1]),
            notes=tuple(f"{rule}: {why}" for rule, why in rules),
        )


def _noise(structure: Structure, variable: Variable, critic: str) -> str:
    """What gives a variable a density: an inverse where a bijection has none, else noise of its own, or a critic."""
    density = variable.site.density
    if isinstance(density, Pushforward) and "none" in directions_of(structure.program, density.bijector).values():
        return f"give {density.bijector} steps that can be inverted, such as `coupling(mlp([64]), affine())`"
    return f"add noise with a density, such as `{variable.name}: Normal(f(...), 0.1)`, or {critic}"
