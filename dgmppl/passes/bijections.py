"""Bijectors as declared: steps with canonical paths, repeats unrolled, inline conditioners as networks of their own.

A bijector's name inside of another stands for its steps: a copy, with parameters of its own, as in `repeat`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dgmppl.ir.bijectors import BIJECTORS, Bijector, BijectorKind, Step
from dgmppl.ir.expressions import Call, Expression, Literal, Name, Sequence
from dgmppl.ir.networks import NETWORKS, Network
from dgmppl.ir.types import Support
from dgmppl.passes.bounds import bounds_of
from dgmppl.passes.declarations import read_options, resolve_network
from dgmppl.passes.problems import Problems, shown
from dgmppl.passes.scope import Scope

# More than any flow has; a `repeat` of millions would fill the memory.
_MOST_STEPS = 1_000


def resolve_bijector(name: str, value: Expression, scope: Scope) -> Bijector:
    """`repeat(4, [coupling(mlp([64]), spline()), reverse()])` as steps `name.0.0`, `name.0.1`, `name.1.0`, ..."""
    top, known = _Steps(scope), len(scope.problems.found)
    if isinstance(value, Call) and value.function == "repeat":
        steps = top.repeat(value, name)
    else:
        steps = top.sequence(value, name)
    if not steps and len(scope.problems.found) == known:
        scope.problems.add(
            "not-a-bijector", f"the bijector {name!r} has no steps", value.span, expected="for example `affine()`"
        )
    return Bijector(name, steps, span=value.span)


def check_sets(bijector: Bijector, base: Support | None, inverse: bool, problems: Problems) -> None:
    """Report the first step that is not defined on all that the base, or the steps before it, can give.

    Args:
        bijector: the bijector.
        base: the support of what it maps; None where that is unknown.
        inverse: it runs backwards here.
        problems: where the report goes.
    """
    given = base
    for step in reversed(bijector.steps) if inverse else bijector.steps:
        kind = BIJECTORS[step.kind]
        if kind.rearranges:
            continue
        ends = (kind.domain, kind.codomain) if step.inverted is inverse else (kind.codomain, kind.domain)
        if given is not None and (given.discrete or not _inside(given, ends[0])):
            why, fix = (
                ("maps densities, and its base takes separate values", "take a continuous base, such as `Normal(0, 1)`")
                if given.discrete
                else (
                    f"maps values in `{ends[0]}`, and may be given others",
                    "put a step before it that ends there, such as `sigmoid()` or `exp()`, or take another base",
                )
            )
            problems.add(
                "unprovable-support",
                f"the step `{step.kind}` of {bijector.name!r} {why}",
                step.span,
                expected=str(ends[0]),
                found=str(given),
                fix=fix,
            )
            return
        given = ends[1]


def _inside(given: Support, wanted: Support) -> bool:
    inner, outer = bounds_of(given), bounds_of(wanted)
    return outer.low <= inner.low and inner.high <= outer.high


class _Steps:
    """Reads steps of one bijector."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.count = 0

    def sequence(self, value: Expression, path: str) -> tuple[Step, ...]:
        parts = value.items if isinstance(value, Sequence) else (value,)
        return tuple(step for position, part in enumerate(parts) for step in self.part(part, f"{path}.{position}"))

    def part(self, value: Expression, path: str) -> tuple[Step, ...]:
        match value:
            case Call(function="repeat"):
                return self.repeat(value, path)
            case Call(function="inverse"):
                return self.inverse(value, path)
            case Name(id=other) if other in self.scope.bijectors:
                if not self.room(len(self.scope.bijectors[other].steps), value):
                    return ()
                return tuple(_copied(step, other, path) for step in self.scope.bijectors[other].steps)
            case Call(function=kind) if kind in BIJECTORS:
                if not self.room(1, value):
                    return ()
                return (self.step(value, BIJECTORS[kind], path),)
            case Call(function=kind) | Name(id=kind):
                known = (*BIJECTORS, *self.scope.bijectors)
                self.scope.problems.unknown("bijector", kind, known, value.span, code="unknown-kind")
            case _:
                self.scope.problems.add(
                    "not-a-bijector", f"{shown(value)} is no bijector", value.span, expected="for example `affine()`"
                )
        return ()

    def room(self, steps: int, value: Expression) -> bool:
        """Whether so many steps more are not too many; once they are, nothing is added any more."""
        self.count += steps
        if self.count > _MOST_STEPS >= self.count - steps:
            message = f"a bijector has at most {_MOST_STEPS:,} steps, every repetition counted"
            self.scope.problems.add("expression-limits", message, value.span, fix="repeat fewer times")
        return self.count <= _MOST_STEPS

    def repeat(self, call: Call, path: str) -> tuple[Step, ...]:
        match call.arguments:
            case (Literal(value=int(times)), body) if times > 0 and not isinstance(times, bool) and not call.keywords:
                return tuple(self.repeated(body, times, path))
        self.scope.problems.add(
            "wrong-arguments",
            "`repeat` takes a count and the steps",
            call.span,
            expected="`repeat(4, [coupling(...), reverse()])`",
            found=shown(call),
        )
        return ()

    def repeated(self, body: Expression, times: int, path: str) -> Iterator[Step]:
        """The steps of all repetitions, up to the first that has none: there is nothing to repeat, or no room."""
        for number in range(times):
            steps = self.sequence(body, f"{path}.{number}")
            if not steps:
                return
            yield from steps

    def inverse(self, call: Call, path: str) -> tuple[Step, ...]:
        match call.arguments:
            case (Sequence() as body,) if not call.keywords:
                steps = self.sequence(body, path)
            case (body,) if not call.keywords:
                steps = self.part(body, path)
            case _:
                self.scope.problems.add(
                    "wrong-arguments",
                    "`inverse` takes the steps that run backwards",
                    call.span,
                    expected="`inverse(squeeze())`",
                    found=shown(call),
                )
                return ()
        return tuple(replace(step, inverted=not step.inverted) for step in reversed(steps))

    def nested(self, call: Call, kind: BijectorKind, path: str) -> tuple[Step, ...]:
        match call.arguments:
            case (body,) if not call.keywords:
                return self.sequence(body, path)
        self.scope.problems.add(
            "wrong-arguments",
            f"`{kind.name}` takes the steps inside of it",
            call.span,
            expected=f"`{kind.name}([coupling(mlp([64]), affine()), reverse()])`",
            found=shown(call),
        )
        return ()

    def step(self, call: Call, kind: BijectorKind, path: str) -> Step:
        if kind.nested:
            return Step(kind.name, path, {}, steps=self.nested(call, kind, path), span=call.span)
        taken = int(kind.conditioned) + int(kind.element)
        arguments = call.arguments
        conditioner, shared = (None, None) if not kind.conditioned else self.conditioner(call, kind, path)
        element = self.element(call, path) if kind.element else None
        options = read_options(call, kind.options, f"bijector `{kind.name}`", self.scope.problems, arguments[taken:])
        return Step(kind.name, path, options, conditioner, element, shared, span=call.span)

    def conditioner(self, call: Call, kind: BijectorKind, path: str) -> tuple[Network | None, str | None]:
        first = call.arguments[0] if call.arguments else None
        scope = self.scope
        match first:
            case Name(id=name, span=span):
                if name not in scope.networks:
                    scope.problems.unknown("network", name, scope.networks, span)
                    return None, None
                self.check_causal(call, kind, scope.networks[name].kind)
                return None, name
            case Call(function=made) if made in BIJECTORS:
                scope.problems.add(
                    "bad-option",
                    f"the bijector `{made}` stands where `{kind.name}` takes its network",
                    first.span,
                    expected=f"`{kind.name}({'made' if kind.name == 'autoregressive' else 'mlp'}([64, 64]), {made}())`",
                    found=shown(call),
                    fix="put the network first",
                )
                return None, None
            case Call(function=made):
                network = resolve_network(f"{path}.conditioner", first, scope)
                if made in NETWORKS:
                    self.check_causal(call, kind, made)
                return network, None
        scope.problems.add(
            "missing-argument",
            f"`{kind.name}` lacks its network",
            call.span,
            expected=f"`{kind.name}(mlp([64, 64]){', affine()' if kind.element else ''})`",
        )
        return None, None

    def check_causal(self, call: Call, kind: BijectorKind, network: str) -> None:
        if kind.name == "autoregressive" and not NETWORKS[network].causal:
            self.scope.problems.add(
                "not-causal",
                f"`autoregressive` needs a causal network, and this is `{network}`",
                call.span,
                expected=", ".join(name for name, entry in NETWORKS.items() if entry.causal),
                fix="write `autoregressive(made([64, 64]), affine())`",
            )

    def element(self, call: Call, path: str) -> Step | None:
        second = call.arguments[1] if len(call.arguments) > 1 else None
        match second:
            case Call(function="affine" | "spline" as kind):
                options = read_options(second, BIJECTORS[kind].options, f"bijector `{kind}`", self.scope.problems)
                return Step(kind, f"{path}.element", options, span=second.span)
        self.scope.problems.add(
            "missing-argument" if second is None else "bad-option",
            f"`{call.function}` lacks its element transform",
            (second or call).span,
            expected=f"`{call.function}(..., affine())` or `{call.function}(..., spline(bins=8))`",
            found=None if second is None else shown(second),
        )
        return None


def _copied(step: Step, name: str, path: str) -> Step:
    """A step of the bijector `name` as a step at `path` of another one."""
    place = f"{path}{step.path.removeprefix(name)}"
    conditioner = step.conditioner and replace(step.conditioner, name=f"{place}.conditioner")
    element = step.element and replace(step.element, path=f"{place}.element")
    steps = tuple(_copied(part, name, path) for part in step.steps)
    return replace(step, path=place, conditioner=conditioner, element=element, steps=steps)
