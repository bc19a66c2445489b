"""Network signatures: inputs and heads as the first use fixes them; a second use must agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dgmppl.ir.bijectors import (
    BIJECTORS,
    Bijector,
    Step,
    image,
    kept_and_moved,
    raw_parameters,
    scaled,
    step_parameters,
)
from dgmppl.ir.expressions import Apply
from dgmppl.ir.networks import NETWORKS, Head, Network
from dgmppl.ir.types import REAL, Dtype, Shape, Support, TensorType
from dgmppl.passes.problems import Problems
from dgmppl.passes.shapes import show
from dgmppl.source import Span

# The longest order of elements that stands in a program.
_LONGEST_ORDER = 1 << 16


@dataclass
class _Use:
    """The first use of a network."""

    inputs: tuple[TensorType, ...]
    span: Span | None
    heads: dict[str, Head] = field(default_factory=dict)
    single: bool = False


class Signatures:
    """The signatures of all named networks."""

    def __init__(self, networks: Mapping[str, Network]) -> None:
        self.networks = networks
        self.uses: dict[str, _Use] = {}
        self.causal: set[str] = set()

    def use(
        self, node: Apply, inputs: tuple[TensorType, ...], head: str, shape: Shape, support: Support, problems: Problems
    ) -> None:
        """Record one application of a network with one of its heads."""
        self.fix(node.network, inputs, Head(head, shape, support), node.head is None, node.span, problems)
        if node.causal:
            self.causal.add(node.network)

    def fix(
        self, name: str, inputs: tuple[TensorType, ...], head: Head, single: bool, span: Span | None, problems: Problems
    ) -> None:
        """Record a use, or report that it differs from the first."""
        known = self.uses.setdefault(name, _Use(inputs, span, single=single))
        if [part.shape for part in known.inputs] != [part.shape for part in inputs]:
            self._clash(name, "inputs", _inputs(known.inputs), _inputs(inputs), known, span, problems)
            return
        if single != known.single:
            self._clash(name, "outputs", _kind(known.single), _kind(single), known, span, problems)
            return
        first = next(iter(known.heads.values()), None) if single else known.heads.get(head.name)
        if first is None:
            known.heads[head.name] = head
        elif first.shape != head.shape or first.support != head.support:
            before, now = (f"{show(part.shape)} in {part.support}" for part in (first, head))
            self._clash(name, "outputs", before, now, known, span, problems)

    def _clash(
        self, name: str, what: str, first: str, second: str, known: _Use, span: Span | None, problems: Problems
    ) -> None:
        problems.add(
            "two-signatures",
            f"the network {name!r} is used with two signatures: its {what} differ",
            span,
            expected=f"{first}, as in its first use" + (f" at {known.span}" if known.span else ""),
            found=second,
            fix=f"declare a second network for this use, `{name}_2: {self.networks[name].kind}(...)`",
        )

    def network(self, network: Network, problems: Problems) -> Network:
        """A network with its signature, which its kind must have; as it is where nothing uses it."""
        use = self.uses.get(network.name)
        if use is None:
            return network
        heads, causal = tuple(use.heads.values()), network.name in self.causal
        network = replace(network, inputs=use.inputs, heads=heads, causal=causal)
        check_signature(network, problems)
        return network

    # ---- networks that stand inside other constructs --------------------------------------------------------------

    def field(
        self, name: str, state: TensorType, context: tuple[TensorType, ...], span: Span | None, problems: Problems
    ) -> None:
        """A vector field or denoiser: state, context and time (embedded or plain, last) to the state's shape."""
        inputs = (state, *context, time_input(self.networks[name]))
        self.fix(name, inputs, Head("out", state.shape, REAL), True, span, problems)

    def bijector(
        self, bijector: Bijector, event: TensorType, context: tuple[TensorType, ...], problems: Problems
    ) -> Bijector:
        """A bijector whose steps have their shapes, and conditioners their signatures; shared ones are recorded."""
        steps = self._steps(bijector.steps, event, event.shape, context, bijector, problems)
        parameters = tuple(part for step in steps for part in step_parameters(step, bijector.name, step.event or ()))
        return replace(bijector, steps=steps, parameters=parameters, event=event.shape)

    def _steps(
        self,
        steps: tuple[Step, ...],
        event: TensorType,
        whole: Shape,
        context: tuple[TensorType, ...],
        bijector: Bijector,
        problems: Problems,
    ) -> tuple[Step, ...]:
        """Steps in order, each with the shape that the ones before it have made of the event's."""
        found: list[Step] = []
        current = event
        for step in steps:
            inner = replace(current, shape=scaled(current.shape) or current.shape)
            parts = self._steps(step.steps, inner, whole, context, bijector, problems)
            shape = image(step, current.shape, whole)
            if shape is None or _out_of_order(step, current):
                problems.add("shape-mismatch", **_misfit(step, current.shape, bijector.name))
                return tuple(found)
            typed = replace(step, event=shape if step.inverted else current.shape, steps=parts)
            found.append(self._step(typed, current, context, bijector, problems))
            current = replace(current, shape=shape)
        if current.shape != event.shape:
            problems.add(
                "shape-mismatch",
                f"the steps of {bijector.name!r} end with another shape than they begin with",
                bijector.span,
                expected=show(event.shape),
                found=show(current.shape),
                fix="undo each `squeeze()` by an `inverse(squeeze())` further on",
            )
        return tuple(found)

    def _step(
        self, step: Step, event: TensorType, context: tuple[TensorType, ...], bijector: Bijector, problems: Problems
    ) -> Step:
        if step.kind == "ode":
            heads: tuple[Head, ...] = (Head("out", event.shape, REAL),)
            if step.network is not None:
                _check_width(step, self.networks[step.network], heads, problems)
                self.field(step.network, event, context, step.span, problems)
                return step
            assert step.conditioner is not None
            inputs = (event, *context, time_input(step.conditioner))
            _check_width(step, step.conditioner, heads, problems)
            return replace(step, conditioner=replace(step.conditioner, inputs=inputs, heads=heads))
        if step.element is None:
            return step
        if step.kind == "coupling" and event.size < 2:
            problems.add(
                "too-few-elements",
                f"a coupling of {bijector.name!r} splits an event of {event.size} element",
                step.span,
                expected="two or more elements",
                fix="use `spline()` or `affine()` by itself for a scalar",
            )
            return step
        inputs, heads = conditioner_signature(step, event, context)
        causal = step.kind == "autoregressive"
        network = step.conditioner if step.network is None else self.networks[step.network]
        if network is not None:
            _check_width(step, network, heads, problems)
        if step.network is not None:
            for head in heads:
                self.fix(step.network, inputs, head, False, step.span, problems)
            if causal:
                self.causal.add(step.network)
            return step
        if step.conditioner is None:
            return step
        conditioner = replace(step.conditioner, inputs=inputs, heads=heads, causal=causal)
        return replace(step, conditioner=conditioner if check_signature(conditioner, problems) else None)


def check_signature(network: Network, problems: Problems) -> bool:
    """Whether a network's kind has its signature, with its options; what does not fit is reported."""
    misfits = tuple(NETWORKS[network.kind].check(network))
    for misfit in misfits:
        problems.add(
            misfit.code, misfit.message, network.span, expected=misfit.expected, found=misfit.found, fix=misfit.fix
        )
    return not misfits


def conditioner_signature(
    step: Step, event: TensorType, context: tuple[TensorType, ...]
) -> tuple[tuple[TensorType, ...], tuple[Head, ...]]:
    """What a conditioner reads and returns: the raw parameters of the element transform, one set per moved element."""
    assert step.element is not None
    seen, moved = kept_and_moved(step, event.size)
    heads = tuple(
        Head(name, (moved,) if count is None else (moved, count), REAL) for name, count in raw_parameters(step.element)
    )
    return (TensorType((seen,), Dtype.REAL, REAL, event.plate), *context), heads


def _check_width(step: Step, network: Network, heads: tuple[Head, ...], problems: Problems) -> None:
    """Report an `out=` that differs from what the step takes."""
    declared, taken = network.options.get("out"), sum(math.prod(head.shape) for head in heads)
    sizes = declared if isinstance(declared, tuple) else (declared,)
    if declared is not None and tuple(sizes) not in {(taken,), heads[0].shape if len(heads) == 1 else (taken,)}:
        parts = ", ".join(f"{head.name} {show(head.shape)}" for head in heads)
        problems.add(
            "conditioner-width",
            f"the network of `{step.kind}` has an output of its own, and the step takes another",
            network.span or step.span,
            expected=parts if len(heads) == 1 else f"{taken} numbers: {parts}",
            found=f"out={declared if isinstance(declared, int) else list(sizes)}",
            fix="leave `out=` out: the step knows what it takes",
        )


def _out_of_order(step: Step, event: TensorType) -> bool:
    """Whether a step needs an order of more elements than a program can write out."""
    return BIJECTORS[step.kind].ordered and event.size > _LONGEST_ORDER


def _misfit(step: Step, shape: Shape, name: str) -> dict[str, Any]:
    """A step that cannot map events of a shape, as the arguments of a diagnostic."""
    if BIJECTORS[step.kind].ordered:
        wanted = f"at most {_LONGEST_ORDER:,} elements: their order is written out"
    elif step.kind == "multiscale":
        wanted = "an even number of channels (or elements), and steps that keep their shape"
    else:
        wanted = "[C, H, W] with C a multiple of 4" if step.inverted else "[H, W] or [C, H, W], H and W even"
    return {
        "message": f"{name!r} has a `{step.kind}` where an event has the shape {show(shape)}",
        "span": step.span,
        "expected": wanted,
        "found": show(shape),
        "fix": f"drop the `{step.kind}`, or give the variable a shape that it can map",
    }


def time_input(network: Network) -> TensorType:
    """Time as a network reads it: a number, or its embedding."""
    match network.options.get("time"):
        case ("embedding", int(width)):
            return TensorType((width,))
    return TensorType(())


def _inputs(inputs: tuple[TensorType, ...]) -> str:
    return " and ".join(show(part.shape) for part in inputs) or "none"


def _kind(single: bool) -> str:
    return "a single output" if single else "the heads of a distribution"
