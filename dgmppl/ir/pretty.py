"""The typed program as stable text, one line for each site, network and step; what golden files hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dgmppl.ir.bijectors import Step
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
)  # fmt: skip
from dgmppl.ir.expressions import Expression, text
from dgmppl.ir.networks import Head, Network
from dgmppl.ir.program import IndexKind, Program, Site
from dgmppl.ir.types import Shape, TensorType


def pretty(program: Program) -> str:
    """The program as text, one line for each site, network and step, in the order of the spec."""
    lines = [f"program {program.name}", *(f"  {key}: {value}" for key, value in _header(program))]
    for section in ("data", "parameters", "model"):
        lines.extend(_section(section, (_noted(site, program) for site in program.sites if site.section == section)))
    lines.extend(_section("guide", map(_site, program.guide)))
    lines.extend(_section("networks", map(_network, program.networks.values())))
    lines.extend(_section("bijectors", _bijectors(program)))
    functions = (f"{name}({', '.join(names)}) = {text(body)}" for name, (names, body) in program.functions.items())
    lines.extend(_section("functions", functions))
    critics = (f"{', '.join(critic.reads)}: {text(critic.expression)}" for critic in program.critics)
    lines.extend(_section("critics", critics))
    return "\n".join(lines) + "\n"


def _header(program: Program) -> Iterator[tuple[str, str]]:
    yield "rows", "bound at run time" if program.rows is None else str(program.rows)
    for level, labels in program.levels.items():
        yield f"levels of {level}", str(len(labels))
    for inlined in program.runs:
        yield f"run of {inlined.site}", f"{inlined.run}, frozen: {', '.join(sorted(inlined.groups)) or 'nothing'}"
    settings = (("guide", program.auto_guide), ("objective", program.objective), ("infer", program.infer))
    yield from ((key, text(value)) for key, value in settings if value is not None)


def _section(name: str, lines: Iterable[str]) -> list[str]:
    body = [f"    {line}" for line in lines]
    return [f"  {name}", *body] if body else []


def _noted(site: Site, program: Program) -> str:
    column = program.columns.get(site.name)
    return f"{_site(site)}, some entries missing" if column is not None and column.missing else _site(site)


def _site(site: Site) -> str:
    index = {IndexKind.LEVEL: f"[{site.level}]", IndexKind.ELEMENT: "[i]", IndexKind.TIME: "[t]"}.get(site.index, "")
    name = f"({', '.join(site.joint)}).{site.name}" if site.joint else site.name
    head = f"{name}{index}: {_type(site.type)} {site.role.value}"
    return head if site.density is None else f"{head} {describe(site.density)}"


def _type(found: TensorType | None) -> str:
    if found is None:
        return "untyped"
    plate = "" if found.plate is None else f" per {found.plate}"
    return f"{_shape(found.shape)} {found.dtype.value} in {found.support}{plate}"


def _shape(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def describe(density: Density) -> str:
    """A density on one line, in the notation of the spec where it has one."""
    match density:
        case Elementary(family=family, parameters=parameters):
            return f"~ {family}({', '.join(f'{name}={text(value)}' for name, value in parameters)})"
        case Deterministic(expression=expression):
            return f"= {text(expression)}"
        case Implicit(function=function, inputs=inputs):
            return f"~ implicit {text(function)} of {', '.join(inputs)}"
        case Learned(kind=kind, shape=shape, value=value):
            return f"= learned {kind} {_shape(shape)} {value:g}"
        case Factorized(conditional=conditional, network=network):
            return f"{describe(conditional)} by elements, {network}"
        case Restricted(base=base, kind=kind, low=low, high=high):
            return f"{describe(base)} {kind}{_bounds(low, high)}"
        case FlatPrior(support=support, low=low, high=high):
            return f"~ flat on {support}{_bounds(low, high)}"
        case Point(value=value):
            return f"~ point {text(value)}"
        case GaussianProcess(kernel=kernel, noise=noise):
            return f"~ GP({text(kernel)}, noise={text(noise)})"
        case TrainedDensity(run=run, given=given):
            return f"~ trained {run}{_given(given)}"
    return _composite(density)


def _composite(density: Density) -> str:
    match density:
        case Pushforward(base=base, bijector=bijector, context=context, inverse=inverse):
            name = f"inverse({bijector})" if inverse else bijector
            return f"= bijection {name}({', '.join([base, *map(text, context)])})"
        case MarkovChain(initial=initial, transition=transition, index=index, lag=lag):
            starts = "".join(f"[{position}] {describe(part)}; " for position, part in initial)
            return f"chain lag {lag}: {starts}[{index}] {describe(transition)}"
        case MixtureOf(components=components, weights=weights, joint=joint, count=count):
            parts = "; ".join(map(describe, components))
            return f"~ mixture of {count}{' joint' if joint else ''}: {describe(weights)[2:]} of {parts}"
        case Unnormalized(energy=energy, base=base, link=link):
            tilted = "" if base is None else f" times {describe(base)[2:]}"
            return f"~ {link or 'exp minus'} {text(energy)}{tilted}, unnormalized"
        case DiffusionChain(denoiser=name, schedule=schedule, steps=steps, predict=predict, variance=variance):
            length = "continuous" if steps is None else f"{steps} steps"
            shown = "" if variance == "posterior" else f", variance {variance}"
            process = f"{name}, {text(schedule)}, {length}{shown}"
            return f"~ diffusion by {process}, predicts {predict}, weights {density.weighting}"
    return type(density).__name__


def _bounds(low: Expression | None, high: Expression | None) -> str:
    parts = [f"{name} {text(bound)}" for name, bound in (("from", low), ("to", high)) if bound is not None]
    return "".join(f" {part}" for part in parts)


def _given(names: tuple[str, ...]) -> str:
    return f" given {', '.join(names)}" if names else ""


def _network(network: Network) -> str:
    options = ", ".join(f"{name}={value!r}" for name, value in network.options.items() if value is not None)
    signature = "unused"
    if network.heads:
        signature = f"{', '.join(map(_input, network.inputs))} -> {', '.join(map(_head, network.heads))}"
    return f"{network.name}: {network.kind}({options}) {signature}"


def _input(part: TensorType) -> str:
    return f"{_shape(part.shape)} {part.dtype.value}"


def _head(head: Head) -> str:
    return f"{head.name} {_shape(head.shape)} in {head.support}"


def _bijectors(program: Program) -> Iterator[str]:
    for bijector in program.bijectors.values():
        yield from map(_step, bijector.walk())


def _step(step: Step) -> str:
    options = ", ".join(f"{name}={value!r}" for name, value in step.options.items() if value is not None)
    written = f"{step.kind}({options})"
    parts = [f"{step.path}: {f'inverse({written})' if step.inverted else written}"]
    if step.element is not None:
        knobs = ", ".join(f"{name}={value!r}" for name, value in step.element.options.items())
        parts.append(f"of {step.element.kind}({knobs})")
    if step.network is not None:
        parts.append(f"by {step.network}")
    if step.conditioner is not None:
        parts.append(f"by {_network(step.conditioner)}")
    return " ".join(parts)
